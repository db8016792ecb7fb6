"""Reports each action of a command in one line on standard output and one log line.

The log line is JSON on standard error, a terminal's too, like those of the adapter. Its event is the command, and its
`user` is who ran it (docs/logs.md). Neither line contains customer data.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Mapping
from contextlib import suppress

from adapter.cli.output import one_line, print_line
from adapter.visible_text import visible_json, visible_value


def audit(event: str, facts: Mapping[str, object], *, text: str, as_json: bool) -> None:
    """Print `text`, or `facts` without None as one line of JSON; log the facts."""
    given = {name: value for name, value in facts.items() if value is not None}
    print_line(visible_json(json.dumps(given, ensure_ascii=False)) if as_json else one_line(text))
    log_action(event, given)


def log_action(event: str, facts: Mapping[str, object]) -> None:
    """Log the facts, for a command that prints them otherwise."""
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
        logger.info(event, **{name: visible_value(value) for name, value in facts.items()}, user=_user())


def _user() -> str:
    """The name of the operating system's user, or its number in a container that has no names."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
