"""Converts the texts of settings (the YAML file, JSON in a variable, `--set`) into values, by the settings' types.

YAML guesses what an unquoted word is: `0123` becomes 83, `off` becomes false, and the last of two equal keys wins
silently. The types of the settings show which of these guesses change the meaning, and the line is still known here.
Each becomes one sentence. A sentence may contain names of keys, and never values, which may be secret.

Does not know which settings there are (`groups`) or where texts come from (`loading`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr

from adapter.strict_json import parse_json

_TAG = "tag:yaml.org,2002:"
_TEXT_TAG = f"{_TAG}str"
_NULL_TAG = f"{_TAG}null"
_MERGE_TAG = f"{_TAG}merge"
_READ_AS = {
    f"{_TAG}int": "a number",
    f"{_TAG}float": "a number",
    f"{_TAG}bool": "true or false",
    f"{_TAG}null": "nothing",
    f"{_TAG}timestamp": "a date",
}
"""What YAML reads a word without quotes as, by tag."""
_MESSAGES = (
    ("expected a single document", "a second document begins in line {line}; keep one document"),
    ("another document", "a second document begins in line {line}; keep one document"),
    ("'<document start>'", "line {line} is after the end of the document; remove it"),
    ("could not determine a constructor", "a tag (`!`) in line {line} is unknown; remove it"),
    ("undefined alias", "an alias (`*`) in line {line} has no anchor (`&`) of its name before it"),
    ("second occurrence", "an anchor (`&`) in line {line} has a name that is already used; rename it"),
    ("unhashable key", "a key in line {line} is a list or a mapping; a key is one word"),
    (
        "mapping values are not allowed",
        "a colon in line {line} is where no value is allowed; check the indentation",
    ),
    ("unexpected end of stream", "a quote that opens in line {begun} is never closed"),
    ("',' or '}'", "a brace (`{{`) that opens in line {begun} is not closed by line {line}, or a comma is missing"),
    ("',' or ']'", "a bracket (`[`) that opens in line {begun} is not closed by line {line}, or a comma is missing"),
    ("character '\\t'", "line {line} is indented by a tab; use spaces"),
    ("cannot start any token", "a word in line {line} begins with a character that YAML reserves"),
    ("unknown escape", "an escape (`\\`) between double quotes in line {line} is unknown; use single quotes"),
    ("expected <block end>", "line {line} is not indented as the lines above it"),
    ("the node content", "a value is missing in line {line}"),
)
"""Parts of YAML's own messages, and the text to use instead: `line` is where YAML noticed the error, `begun` where it
begins."""
_OTHER_MESSAGE = "line {line} breaks a rule of YAML"
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
"""Numbers that people and YAML read in the same way: no octal, no hexadecimal, no `1:30`, no `1_000`."""


class Shape(Enum):
    """What a position in the tree of settings holds."""

    GROUP = auto()
    """A closed group of settings (a pydantic model)."""
    MAPPING = auto()
    """Keys that the user chooses, such as merchants."""
    LIST = auto()
    TEXT = auto()
    NUMBER = auto()
    OTHER = auto()
    """Anything: a plugin's own setting, whose type only its model knows; or true and false."""


STRUCTURES = frozenset({Shape.GROUP, Shape.MAPPING})


class UnreadableText(ValueError):
    """A text is not valid YAML or JSON; the message names the line and never quotes the text."""


def shape_of(annotation: object) -> Shape:
    """The shape of a setting of this type."""
    kind = _without_none(annotation)
    origin = get_origin(kind)
    if origin is Literal:
        return Shape.TEXT if all(isinstance(choice, str) for choice in get_args(kind)) else Shape.OTHER
    if origin is dict:
        return Shape.MAPPING
    if origin in (tuple, list, set, frozenset):
        return Shape.LIST
    if not isinstance(kind, type):
        return Shape.OTHER
    if issubclass(kind, BaseModel):
        return Shape.GROUP
    if issubclass(kind, bool) or kind is object:
        return Shape.OTHER
    if issubclass(kind, (int, float)):
        return Shape.NUMBER
    return Shape.TEXT if issubclass(kind, (str, SecretStr)) or hasattr(kind, "__fspath__") else Shape.OTHER


def inside(annotation: object, name: str) -> object | None:
    """The type of the value at `name` in a group or mapping; None if it is unknown."""
    kind = _without_none(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(name)
        return None if field is None else field.annotation
    return get_args(kind)[1] if get_origin(kind) is dict else None


def takes_none(annotation: object) -> bool:
    """Whether the setting accepts None."""
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def takes_secret(annotation: object) -> bool:
    """Whether the setting is a secret, or a list of secrets."""
    return annotation is SecretStr or any(takes_secret(each) for each in get_args(annotation))


def filled(value: object, annotation: object) -> object:
    """The value, with an empty mapping or list wherever a whole group, mapping or list is commented out."""
    shape = shape_of(annotation)
    if value is None and shape in (*STRUCTURES, Shape.LIST) and not takes_none(annotation):
        return [] if shape is Shape.LIST else {}
    if isinstance(value, dict) and shape in STRUCTURES:
        return {name: filled(below, inside(annotation, name)) for name, below in value.items()}
    return value


def structure(text: str, annotation: object) -> object:
    """Return the mapping or list in a text, as JSON or as YAML.

    Raises UnreadableText with everything that is wrong.
    """
    try:
        return parse_json(text, pairs=_unique)
    except UnreadableText:
        raise
    except ValueError:  # it may be YAML, as people write it on a command line: [a, b]
        value, problems = read_yaml(text, annotation)
    if problems:
        raise UnreadableText("; ".join(problem.rstrip(".") for problem in problems))
    if not isinstance(value, dict | list):
        raise UnreadableText("it is neither a mapping such as {...} nor a list such as [...]")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UnreadableText(f"the key {twice} is set twice; remove one")
    return dict(pairs)


def read_yaml(text: str, annotation: object) -> tuple[object, tuple[str, ...]]:
    """Return the document and what is wrong in it, one sentence each, beginning with `line N: `.

    Raises UnreadableText if the text is not YAML.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, ()
        problems = [*_repeated(loader, node, frozenset(), set()), *_misread(loader, node, annotation)]
        return (None if problems else loader.construct_document(node)), tuple(problems)
    except yaml.YAMLError as error:
        raise UnreadableText(_why_unreadable(error)) from None
    except RecursionError:
        raise UnreadableText("it is nested too deeply") from None
    except (ValueError, LookupError, AttributeError):  # a date such as 2026-02-30, !!int x, !!timestamp x
        raise UnreadableText("it contains an impossible value, such as a date that does not exist") from None


def _why_unreadable(error: yaml.YAMLError) -> str:
    """The reason in plain words: YAML's own messages are about tokens, and quote the text."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "it contains a character that YAML does not allow"
    message = getattr(error, "problem", None) or ""
    sentence = next((text for part, text in _MESSAGES if part in message), _OTHER_MESSAGE)
    begun = getattr(error, "context_mark", None) or mark
    return sentence.format(line=mark.line + 1, begun=begun.line + 1)


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _repeated(loader: yaml.SafeLoader, node: yaml.Node, above: frozenset[int], checked: set[int]) -> Iterator[str]:
    """Keys that a mapping has twice, at every level, and aliases that contain themselves."""
    if id(node) in above:
        yield f"line {_line(node)}: an alias (*) is inside of what it refers to. Write the value instead."
    if id(node) in above or id(node) in checked:
        return
    checked.add(id(node))
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _repeated(loader, each, above, checked)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[object, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = key.value if key.tag == _MERGE_TAG else loader.construct_object(key)
                if name in lines:
                    yield f"lines {lines[name]} and {_line(key)}: the key {key.value} is set twice. Remove one."
                lines.setdefault(name, _line(key))
            yield from _repeated(loader, value, above, checked)


def _misread(loader: yaml.SafeLoader, node: yaml.Node, annotation: object) -> Iterator[str]:
    """Words that YAML reads as another type than the setting's; an unambiguous choice is corrected instead."""
    shape = shape_of(annotation)
    if isinstance(node, yaml.MappingNode) and shape in STRUCTURES:
        loader.flatten_mapping(node)
        for key, value in node.value:
            if key.tag in _READ_AS:
                read_as = _READ_AS[key.tag]
                yield (
                    f"line {_line(key)}: the key {key.value} is not in quotes, so YAML reads it as {read_as}. "
                    f'Write it in quotes: "{key.value}":'
                )
            elif isinstance(key, yaml.ScalarNode):
                yield from _misread(loader, value, inside(annotation, key.value))
    elif isinstance(node, yaml.SequenceNode) and shape is Shape.LIST:
        element = get_args(_without_none(annotation))[0]
        for each in node.value:
            yield from _misread(loader, each, element)
    elif isinstance(node, yaml.ScalarNode) and shape is Shape.LIST:
        yield from _misread_word(node, Shape.TEXT, ())
    elif isinstance(node, yaml.ScalarNode):
        yield from _misread_word(node, shape, _choices(annotation))


def _misread_word(node: yaml.ScalarNode, shape: Shape, choices: Iterable[object]) -> Iterator[str]:
    if node.tag == _NULL_TAG:
        return
    if shape is Shape.TEXT and node.tag in _READ_AS:
        if node.value in choices:  # `off` where off is one of the choices is unambiguous
            node.tag = _TEXT_TAG
        else:
            yield (
                f"line {_line(node)}: the value is not in quotes, so YAML reads it as {_READ_AS[node.tag]}, and this "
                "setting is a text. Put it in quotes."
            )
    elif shape is Shape.NUMBER and node.tag in _READ_AS and not _PLAIN_NUMBER.fullmatch(node.value):
        yield f"line {_line(node)}: YAML does not read this number as people do. Write it as a plain decimal."


def _choices(annotation: object) -> tuple[object, ...]:
    kind = _without_none(annotation)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _without_none(annotation: object) -> object:
    """The type without `Annotated` and `| None`; a union of several others stays one."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        others = [each for each in get_args(annotation) if each is not NoneType]
        return _without_none(others[0]) if len(others) == 1 else annotation
    return annotation
