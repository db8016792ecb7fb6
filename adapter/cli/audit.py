"""One line for each thing that a command has done: on standard output for whoever ran it, and as a log line.

The log line is JSON on standard error, as the adapter's own, and is left out where standard error is a terminal, on
which the other one shows. Neither holds customer data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress

from adapter.cli.output import one_line, print_line


def audit(event: str, facts: Mapping[str, object], *, text: str, as_json: bool) -> None:
    """Tell it: `text` for people, `facts` (None left out) for machines, one JSON object on one line."""
    given = {name: value for name, value in facts.items() if value is not None}
    print_line(json.dumps(given, ensure_ascii=False) if as_json else one_line(text))
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
    with suppress(OSError):  # where nobody takes it the line is lost, as that of a note is, and the work goes on
        logger.info(event, **facts)
