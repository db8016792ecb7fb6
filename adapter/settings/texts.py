"""Turns the texts of settings (the YAML file, JSON in a variable, `--set`) into values, guided by the settings' types.

YAML guesses what an unquoted word is: `0123` becomes 83, `off` becomes false, and the last of two equal keys wins in
silence. The types of the settings say which of these guesses change the meaning, and the line is still known here. So
they become one sentence each. Values are never quoted in a sentence, since they may be keys; names of keys are.

Does not know which settings there are (`groups`) or where texts come from (`loading`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr

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
"""What YAML makes of a word without quotes, by its tag."""
_COMPLAINTS = (
    ("expected a single document", "a second document begins in line {line}; keep one document"),
    ("another document", "a second document begins in line {line}; keep one document"),
    ("'<document start>'", "line {line} stands behind the end of the document; remove what is too much there"),
    ("could not determine a constructor", "a tag (`!`) in line {line} is not known here; remove it"),
    ("undefined alias", "an alias (`*`) in line {line} stands for nothing; no anchor (`&`) before it has this name"),
    ("second occurrence", "an anchor (`&`) in line {line} has a name that is there already; give it another one"),
    ("unhashable key", "a key in line {line} is a list or a mapping; a key is one word"),
    ("mapping values are not allowed", "a colon in line {line} begins a value where none can stand; check the indents"),
    ("unexpected end of stream", "a quote that opens in line {begun} is never closed"),
    ("',' or '}'", "a brace (`{{`) that opens in line {begun} is not closed by line {line}, or a comma is missing"),
    ("',' or ']'", "a bracket (`[`) that opens in line {begun} is not closed by line {line}, or a comma is missing"),
    ("character '\\t'", "a tab stands in line {line} where blanks belong"),
    ("cannot start any token", "a word in line {line} begins with a character that YAML keeps for itself"),
    ("unknown escape", "an escape (`\\`) between double quotes in line {line} is not known; use single quotes"),
    ("expected <block end>", "line {line} is indented in another way than the lines above it"),
    ("the node content", "a value is missing in line {line}"),
)
"""Parts of YAML's own complaints, and what we say instead: `line` is where it noticed, `begun` where it began."""
_OTHER_COMPLAINT = "line {line} breaks a rule of YAML"
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
"""Numbers that people and YAML read alike: no octal, no hexadecimal, no `1:30`, no `1_000`."""


class Shape(Enum):
    """What a place in the tree of settings holds."""

    GROUP = auto()
    """A closed group of settings (a pydantic model)."""
    MAPPING = auto()
    """Names of the user's own, such as merchants."""
    LIST = auto()
    TEXT = auto()
    NUMBER = auto()
    OTHER = auto()
    """Anything: a plugin's own setting, whose type only its model knows; or true and false."""


STRUCTURES = frozenset({Shape.GROUP, Shape.MAPPING})


class UnreadableText(ValueError):
    """A text is not the YAML or JSON that it should be; the message says where and never quotes it."""


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
    """The type of what stands below `name` in a group or mapping; None where nothing is known about it."""
    kind = _without_none(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(name)
        return None if field is None else field.annotation
    return get_args(kind)[1] if get_origin(kind) is dict else None


def takes_none(annotation: object) -> bool:
    """Whether the setting may be absent by saying so."""
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def filled(value: object, annotation: object) -> object:
    """The value with an empty mapping or list wherever all of a group, mapping or list is commented out."""
    shape = shape_of(annotation)
    if value is None and shape in (*STRUCTURES, Shape.LIST) and not takes_none(annotation):
        return [] if shape is Shape.LIST else {}
    if isinstance(value, dict) and shape in STRUCTURES:
        return {name: filled(below, inside(annotation, name)) for name, below in value.items()}
    return value


def structure(text: str, annotation: object) -> object:
    """The mapping or list that a text holds, as JSON or as YAML.

    Raises UnreadableText with all that is wrong.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except UnreadableText:
        raise
    except ValueError:  # then it is YAML, as people write it on a command line: [a, b]
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
        raise UnreadableText(f"the key {twice} is there twice; remove one")
    return dict(pairs)


def read_yaml(text: str, annotation: object) -> tuple[object, tuple[str, ...]]:
    """The document and what is wrong in it, one sentence each, beginning with `line N: `.

    Raises UnreadableText for what is not YAML at all.
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
        raise UnreadableText("it is nested too deep") from None
    except (ValueError, LookupError, AttributeError):  # a date such as 2026-02-30, !!int x, !!timestamp x
        raise UnreadableText("a value in it is not what it looks like, such as a date that does not exist") from None


def _why_unreadable(error: yaml.YAMLError) -> str:
    """The complaint in our own words: YAML's own are about tokens, and quote the text."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "it holds a character that YAML does not allow"
    complaint = getattr(error, "problem", None) or ""
    sentence = next((ours for theirs, ours in _COMPLAINTS if theirs in complaint), _OTHER_COMPLAINT)
    begun = getattr(error, "context_mark", None) or mark
    return sentence.format(line=mark.line + 1, begun=begun.line + 1)


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _repeated(loader: yaml.SafeLoader, node: yaml.Node, above: frozenset[int], checked: set[int]) -> Iterator[str]:
    """Keys that are in one mapping twice, at every level; and what contains itself."""
    if id(node) in above:
        yield f"line {_line(node)}: an alias (*) stands inside what it refers to. Write it out."
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
                    yield f"lines {lines[name]} and {_line(key)}: the key {key.value} is there twice. Remove one."
                lines.setdefault(name, _line(key))
            yield from _repeated(loader, value, above, checked)


def _misread(loader: yaml.SafeLoader, node: yaml.Node, annotation: object) -> Iterator[str]:
    """Words that YAML reads as something else than the setting is; a choice that is meant is made one."""
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
        if node.value in choices:  # `off`, where off is one of few words: nothing else can be meant
            node.tag = _TEXT_TAG
        else:
            yield (
                f"line {_line(node)}: the value is not in quotes, so YAML reads it as {_READ_AS[node.tag]}, and this "
                "setting is a text. Put it in quotes."
            )
    elif shape is Shape.NUMBER and node.tag in _READ_AS and not _PLAIN_NUMBER.fullmatch(node.value):
        yield f"line {_line(node)}: YAML reads this number in another way than people do. Write it as a plain decimal."


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
