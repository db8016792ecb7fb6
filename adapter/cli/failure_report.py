"""Reports why `run` ends or waits: in one log line, and in the container's termination message.

Kubernetes shows the message in the pod's status (`kubectl describe pod`), when the log has already moved on. Only `run`
writes it: a command that is executed in the same container would replace the message of the adapter.

Never raises: a report that cannot be written must not hide the error or change the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

MESSAGE_MAX_BYTES = 4096
"""Kubernetes reads so much of a termination message."""
_CUT = " ..."


def log_failure(problems: Iterable[str], *, exit_code: int, unexpected: BaseException | None) -> bool:
    """Log the error that ends the process, in one line; return False if that is impossible.

    `problems` has one entry for each error or cure. `unexpected`: an error whose type and stack locations are logged.
    """
    with suppress(Exception):
        import logging

        from adapter import log

        style = log.configured_style() or "json"  # None if the settings, which have it, could not be read
        with log.log_stream() as (stream, _):
            log.configure(style=style, level="info", stream=stream)
            logging.getLogger(__name__).error(
                "adapter-failed", extra={"problems": list(problems), "exit_code": exit_code}, exc_info=unexpected
            )
        return True
    return False


def write_termination_message(problems: Iterable[str]) -> None:
    """Replace the termination message; without problems, empty it. Nothing happens outside a container."""
    with suppress(Exception):
        from adapter.settings.termination_log import termination_log

        path = termination_log()
        if path is not None:
            # O_NONBLOCK: a pipe without a reader must not stop the process here.
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
            try:
                os.write(number, shortened("\n".join(problems)))
            finally:
                os.close(number)


def report_wait(reason: str | None) -> None:
    """Keep the reason for which the start waits, so that it shows if the process is ended meanwhile."""
    write_termination_message(() if reason is None else (f"The adapter waits: {reason}",))


def shortened(text: str) -> bytes:
    """The text as UTF-8, cut between two characters if it is too long."""
    data = text.encode("utf-8", errors="replace")
    if len(data) <= MESSAGE_MAX_BYTES:
        return data
    return data[: MESSAGE_MAX_BYTES - len(_CUT)].decode("utf-8", errors="ignore").encode() + _CUT.encode()
