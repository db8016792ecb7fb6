"""Reports each action of a command in one line on standard output and one log line.

The log line is JSON on standard error, like those of the adapter; its event is the command (docs/logs.md). It is left
out if standard error is a terminal.
Neither line contains customer data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress

from adapter.cli.output import one_line, print_line
from adapter.visible_text import visible_json, visible_value


def audit(event: str, facts: Mapping[str, object], *, text: str, as_json: bool) -> None:
    """Print `text`, or `facts` without None as one line of JSON; log the facts."""
    given = {name: value for name, value in facts.items() if value is not None}
    print_line(visible_json(json.dumps(given, ensure_ascii=False)) if as_json else one_line(text))
    if not sys.stderr.isatty():
        _log(event, given)


def _log(event: str, facts: Mapping[str, object]) -> None:
    import structlog

    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    with suppress(OSError):  # if it cannot be written, the line is lost and the command continues
        logger.info(event, **{name: visible_value(value) for name, value in facts.items()})
