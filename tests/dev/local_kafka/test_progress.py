"""Plain lines for those who wait without a terminal."""

from __future__ import annotations

import io
import re

from adapter.dev.local_kafka.progress import Lines


def test_plain_lines_show_steps_and_every_tenth_file() -> None:
    """A log is not flooded, and the last file is reported."""
    stream = io.StringIO()
    lines = Lines(stream)

    lines.step("fetching")
    for done in range(1, 24):
        lines.fetched("some.jar", done, 23)

    step, *files = stream.getvalue().splitlines()
    assert step.endswith("fetching")
    assert [re.findall(r"\d+", line) for line in files] == [["10", "23"], ["20", "23"], ["23", "23"]]
