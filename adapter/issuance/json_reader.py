"""Reads a JSON document that the adapter itself wrote, and refuses everything that is not as it was written.

Exists so that reading is total: whatever the bytes are, the outcome is a value of the right type or `NotAsWritten`,
which names the place and the expectation and never what is there. Refuses to know what the document means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Self, TypeVar

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
YEARS = range(1970, 9000)
"""Years of the moments that a record may hold: no arithmetic with them overflows."""


class NotAsWritten(Exception):
    """The document is not as the adapter writes it; the message names the place."""


@dataclass(frozen=True, slots=True)
class JsonReader:
    """One object of the document; `path` is its path.

    Each method reads one field and raises NotAsWritten when it is of another type or out of its range. Absent and null
    are one: refused by `text` and its kin, None to `optional_text` and its kin.
    """

    _fields: Mapping[str, object]
    path: str = ""

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Raises NotAsWritten when `data` is no JSON object, or holds a text that no UTF-8 can write."""
        try:
            document = json.loads(data)
            # An escape may name half of a character (a lone surrogate); what was read could never be published.
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotAsWritten("it holds half of a character") from None
        except (ValueError, RecursionError):
            raise NotAsWritten("it is not JSON") from None
        return cls._of(document, "")

    def anything(self, name: str) -> object:
        return self._fields.get(name)

    def text(self, name: str) -> str:
        return self._there(name, self.optional_text(name))

    def optional_text(self, name: str) -> str | None:
        value = self._fields.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name, "a text")

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._as_text(value, name) for value in self._list(name))

    def integer(self, name: str, *, least: int | None = None, most: int | None = None) -> int:
        return self._there(name, self.optional_integer(name, least=least, most=most))

    def optional_integer(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "a whole number")
        if (least is not None and value < least) or (most is not None and value > most):
            raise self._wrong(name, "a number in its range")
        return value

    def optional_boolean(self, name: str) -> bool | None:
        value = self._fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(name, "true or false")

    def member(self, name: str, kind: type[E]) -> E:
        return self._there(name, self.optional_member(name, kind))

    def optional_member(self, name: str, kind: type[E]) -> E | None:
        text = self.optional_text(name)
        try:
            return None if text is None else kind(text)
        except ValueError:
            raise self._wrong(name, f"one of {[member.value for member in kind]}") from None

    def moment(self, name: str) -> datetime:
        return self._there(name, self.optional_moment(name))

    def optional_moment(self, name: str) -> datetime | None:
        """An RFC 3339 time with its zone, in UTC; within years that can be reckoned with."""
        text = self.optional_text(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._wrong(name, "a time") from None
        if moment.tzinfo is None or moment.year not in YEARS:
            raise self._wrong(name, f"a time with a zone, from {YEARS.start} on")
        return moment.astimezone(UTC)

    def optional_day(self, name: str) -> date | None:
        text = self.optional_text(name)
        try:
            return None if text is None else date.fromisoformat(text)
        except ValueError:
            raise self._wrong(name, "a date") from None

    def child(self, name: str) -> JsonReader:
        return self._of(self._fields.get(name), self._path(name))

    def optional_child(self, name: str) -> JsonReader | None:
        return None if self._fields.get(name) is None else self.child(name)

    def children(self, name: str) -> tuple[JsonReader, ...]:
        """At least one object."""
        values = self._list(name)
        if not values:
            raise self._wrong(name, "a list with something in it")
        return tuple(self._of(value, f"{self._path(name)}[{path}]") for path, value in enumerate(values))

    def pick(self, name: str, pool: Sequence[str]) -> str | None:
        """The text at the place in `pool` that the field names."""
        path = self.optional_integer(name, least=0, most=len(pool) - 1)
        return None if path is None else pool[path]

    def _list(self, name: str) -> list[object]:
        value = self._fields.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def _as_text(self, value: object, name: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(name, "a list of texts")
        return value

    def _there(self, name: str, value: T | None) -> T:
        if value is None:
            raise NotAsWritten(f"{self._path(name)} is missing")
        return value

    def _wrong(self, name: str, expected: str) -> NotAsWritten:
        return NotAsWritten(f"{self._path(name)} is not {expected}")

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    @classmethod
    def _of(cls, value: object, path: str) -> Self:
        if not isinstance(value, dict):
            raise NotAsWritten(f"{path or 'it'} is not an object")
        return cls(value, path)
