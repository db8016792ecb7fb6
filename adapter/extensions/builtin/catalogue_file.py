"""Reads the catalogue: a YAML file that names the ticket of each sku.

    TSHIRT-DAY:                     # the shop's sku
      item_no: VQT04959             # ECTicket's product number; every issue type but serial_number
      name: Theme park day ticket   # shown in events; serial_number tickets are issued under it
      price: 1200                   # whole New Taiwan dollars; needed by serial_number only
      voucher: pickup               # or gift; if left out, the last day or the order's line decides
      issue_type: electronic        # convenience_store, paper, electronic, serial_number; if left out, the order's
      start_after_days: 7           # electronic: first day, this many days after payment, at least tomorrow
    FREE-COFFEE:
      item_no: GFT00001
      voucher: gift
      valid_days: 365               # gift vouchers: last day, this many days after the first

Instead of `start_after_days` there may be a fixed `start_date`, instead of `valid_days` a fixed `expire_date`.

Skus and values are read as they are written: 00123 stays 00123, and `on` is a sku like any other. Every error is
reported with file, line and sku; a file with an error is not used at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from adapter.errors import SettingsError
from adapter.extensions.builtin.catalogue_entry import FIELDS, CatalogueEntry, InvalidValue
from adapter.extensions.suggestions import did_you_mean

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml if it is installed: it reads large catalogues about ten times as fast."""
_NULL: Final = "tag:yaml.org,2002:null"


def read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    """Return the catalogue by sku, in the file's order.

    Raises SettingsError with one sentence for each error.
    """
    reader = _CatalogueReader(path)
    entries = dict(reader.entries())
    if not entries and not reader.problems:
        reader.problems.append(f"submit.catalogue: {path} has no entry. Write one for each sku, or remove the setting.")
    if reader.problems:
        raise SettingsError(*reader.problems)
    return entries


class _CatalogueReader:
    """Reads one file and collects what is wrong in it."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path

    def entries(self) -> Iterator[tuple[str, CatalogueEntry]]:
        """The entries without an error, by sku."""
        root = self._root()
        for sku, key, value in self._pairs(root, "a mapping from sku to item") if root is not None else ():
            before = len(self.problems)
            fields = {name: self._value(sku, name, where, node) for name, where, node in self._fields(sku, key, value)}
            if len(self.problems) > before:
                continue
            entry = CatalogueEntry(**fields)  # type: ignore[arg-type]  # FIELDS reads each field as its type
            for problem in entry.problems():
                self._report(key, f"sku '{sku}': {problem}")
            yield sku, entry

    def _root(self) -> yaml.Node | None:
        try:
            return yaml.compose(self._path.read_text(encoding="utf-8"), Loader=_LOADER)
        except OSError as error:
            problem = f"submit.catalogue: {self._path} cannot be read: {error.strerror}. Correct the path, or mount it."
        except UnicodeDecodeError:
            problem = f"submit.catalogue: {self._path} is not UTF-8 text. Save it as UTF-8."
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            location = f", line {mark.line + 1}" if mark else ""
            problem = f"submit.catalogue: {self._path}{location}: this is not YAML: {getattr(error, 'problem', error)}."
        self.problems.append(problem)
        return None

    def _fields(self, sku: str, key: yaml.Node, value: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        for name, where, node in self._pairs(value, f"the fields of sku '{sku}', such as item_no", missing_at=key):
            if name in FIELDS:
                yield name, where, node
            else:
                known = did_you_mean(name, FIELDS) or f" The keys are {', '.join(FIELDS)}."
                self._report(where, f"sku '{sku}': there is no key '{name}'.{known}")

    def _value(self, sku: str, name: str, where: yaml.Node, node: yaml.Node) -> object:
        if not isinstance(node, yaml.ScalarNode):
            self._report(where, f"sku '{sku}': {name} must be a single value.")
            return None
        if node.tag == _NULL:
            return None
        try:
            return FIELDS[name](node.value)
        except InvalidValue as error:
            self._report(where, f"sku '{sku}': {name} {error}")
            return None

    def _pairs(
        self, node: yaml.Node, what: str, *, missing_at: yaml.Node | None = None
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping as they are written, each with its node and its value's; a key may occur once."""
        if not isinstance(node, yaml.MappingNode):
            self._report(missing_at or node, f"expected {what}.")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self._report(key, "a key must be a single word or text.")
            elif key.value in seen:
                self._report(key, f"'{key.value}' is already set in line {seen[key.value]}; remove one.")
            else:
                seen[key.value] = key.start_mark.line + 1
                yield key.value, key, value

    def _report(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"submit.catalogue: {self._path}, line {node.start_mark.line + 1}: {problem}")
