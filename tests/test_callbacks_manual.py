"""`docs/callbacks.md` says what is so: every end that is counted, every number, and a recipe that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from adapter.flows.receive import MAX_PUBLICATIONS, PUBLISHED, REASONS, REPEATED
from adapter.kafka.publisher import WITHIN_SECONDS
from adapter.protocol.credentials import Credentials
from adapter.protocol.notification import MEANINGS, pseudonym
from adapter.settings.groups import CallbackSettings
from adapter.web.callbacks import LARGE_BODIES_PER_SECOND, LARGE_BODY_BYTES, MAX_BODY_BYTES, REFUSAL_DELAY_SECONDS
from adapter.web.connection_limits import ConnectionLimits
from adapter.web.connection_slots import PASSED_OVER_AT_MOST
from adapter.web.server import BACKLOG, RECEIVE_BUFFER_BYTES

MANUAL = (Path(__file__).parent.parent / "docs" / "callbacks.md").read_text(encoding="utf-8")


def test_the_recipe_for_a_tickets_reference_works() -> None:
    """A reader who follows it finds the ticket."""
    (recipe,) = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    names: dict[str, Callable[[str, str, str], str]] = {}
    exec(recipe, names)  # noqa: S102  # the manual's own words

    keys = Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
    found = names["ticket_ref"]("CB2SY20220302153", keys.hash_key, keys.hash_iv)
    assert found == pseudonym("CB2SY20220302153", keys)


def test_every_end_that_is_counted_is_explained() -> None:
    """And nothing is that does not exist."""
    ends = {PUBLISHED, REPEATED, *REASONS.values(), "too-large", "cut-off", "internal-error", "too-busy"}
    rows = re.findall(r"^\| (?:\d\d\d|none) \| (.*?) \|", MANUAL, re.MULTILINE)

    assert {end for row in rows for end in re.findall(r"`([a-z-]+)`", row)} == ends


def test_the_bounds_are_those_of_the_code() -> None:
    """Numbers in a manual grow old."""
    limits = ConnectionLimits()

    for sentence in (
        f"more than {MAX_BODY_BYTES // 1024} KiB",
        f"more than {LARGE_BODY_BYTES // 1024} KiB take turns, {LARGE_BODIES_PER_SECOND} a second",
        f"within {WITHIN_SECONDS:g} s",
        f"at most {MAX_PUBLICATIONS} times",
        f"take {REFUSAL_DELAY_SECONDS:g} s",
        f"within {limits.request_seconds:g} s",
        f"a head of more than {limits.head_bytes // 1024} KiB",
        f"more than {limits.headers} headers or {limits.chunks:,} chunks",
        f"a message of more than {limits.message_bytes // 1024} KiB",
        f"all {limits.connections} slots are in use",
        f"passed over, at most {PASSED_OVER_AT_MOST} times",
        f"The queue holds {BACKLOG:,} connections",
        f"with at most {2 * RECEIVE_BUFFER_BYTES // 1024} KiB each",
    ):
        assert re.search(re.sub(r" ", r"\\s+", re.escape(sentence).replace(r"\ ", " ")), MANUAL), sentence


def test_every_meaning_and_path_is_there() -> None:
    """The disputed numbers as the code reads them, and the addresses as Issue requests carry them."""
    for number, meanings in MEANINGS.items():
        assert f"| {number} | {', '.join(meanings)} |" in MANUAL
    for path in CallbackSettings.PATHS.values():
        assert f"`{path}`" in MANUAL
