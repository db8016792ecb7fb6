"""Draws spans as a tree, as docs/traces.md prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tracing.collector import ReceivedSpan

SHOWN: Mapping[str, str] = {
    "ecticket.plugins": "plugins",
    "ecticket.rtn_code": "RtnCode",
    "ecticket.issuance.status": "status",
    "http.response.status_code": "HTTP",
    "cloudevents.event_type": "type",
    "ecticket.delivery.outcome": "outcome",
    "error.type": "error",
}
"""The attributes in the picture, and their short names."""
_TIMES = re.compile(r" +[0-9]+\.[0-9] ms$", re.MULTILINE)
_WIDTH = 84


def draw(spans: Sequence[ReceivedSpan], renamed: Mapping[str, str]) -> str:
    """The traces, the first to begin first; `renamed` are the names of topics and sinks to show instead."""
    ids = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id not in ids]
    return "\n\n".join("\n".join(_tree(root, spans, renamed)) for root in roots)


def without_times(picture: str) -> str:
    """The picture without the durations, which differ in each run."""
    return _TIMES.sub("", picture)


def _tree(span: ReceivedSpan, spans: Sequence[ReceivedSpan], renamed: Mapping[str, str]) -> Iterator[str]:
    line = _line(span, renamed)
    yield f"{line:{_WIDTH}}{(span.ended - span.began) / 1e6:8.1f} ms"
    children = [list(_tree(each, spans, renamed)) for each in spans if each.parent_id == span.span_id]
    children = [each for at, each in enumerate(children) if at == 0 or not _alike(each, children[at - 1])]
    for at, child in enumerate(children):
        is_last = at == len(children) - 1
        yield _fit(f"{'└─' if is_last else '├─'} {child[0]}")
        yield from (_fit(f"{'   ' if is_last else '│  '}{line}") for line in child[1:])


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two neighbours differ in nothing but their times: the queries before a result, whose number varies."""
    return without_times("\n".join(one)) == without_times("\n".join(other))


def _fit(line: str) -> str:
    """The line with its time at the same column as before."""
    text, time = line[: -len("    0.0 ms") - 1], line[-len("    0.0 ms") - 1 :]
    return f"{text.rstrip():{_WIDTH}}{time}"


def _line(span: ReceivedSpan, renamed: Mapping[str, str]) -> str:
    given = span.attributes
    shown = "  ".join(f"{short}={_text(given[name])}" for name, short in SHOWN.items() if name in given)
    line = f"{span.name}  {shown}".rstrip()
    for name, instead in renamed.items():
        line = line.replace(name, instead)
    return line


def _text(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text.removeprefix("ecticket.").removesuffix(".v1")
