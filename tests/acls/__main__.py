"""`make acls`: do each role's work with its rights, and again without each of them; exit 1 if a row is wrong.

cd tests && python -m acls                    every role
cd tests && python -m acls submit "reissue"   these roles
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from acls.ground import Ground, open_ground
from acls.rights import OPERATOR, PAGE, RUN, Right, rights_by_role
from acls.trial import WORK, Result, Trial

SIDE_BY_SIDE = 3
"""Trials at a time; each starts processes that compute for a second or two."""


def main() -> int:
    """0: each role works with its rights, and fails without any one of them."""
    parser = argparse.ArgumentParser(prog="python -m acls", description=__doc__)
    parser.add_argument("roles", nargs="*", help=f"only these, of: {', '.join(WORK)}")
    roles = parser.parse_args().roles or list(WORK)
    began = time.monotonic()
    verdicts = asyncio.run(_verdicts(roles))
    wrong = [sentence for sentence in verdicts if sentence]
    print(f"{len(verdicts)} trials, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong or not verdicts else 0


def trials_of(role: str, rights: Collection[Right]) -> Iterator[Right | None]:
    """What is taken away in turn, nothing at first. `run` and `operator` have rights of roles that are tried alone."""
    yield None
    if role not in (RUN, OPERATOR):
        yield from sorted(rights)


async def _verdicts(roles: Collection[str]) -> list[str]:
    page = rights_by_role(PAGE.read_text(encoding="utf-8"))
    turn = asyncio.Semaphore(SIDE_BY_SIDE)
    with tempfile.TemporaryDirectory(prefix="ecticket-acls-") as folder:
        async with open_ground(WORK) as ground:

            async def verdict(role: str, without: Right | None) -> str:
                async with turn:
                    sentence = await _verdict(ground, Path(folder), role, page[role], without)
                print(sentence or f"as the page says: {role} without {without or 'nothing'}", flush=True)
                return sentence

            every = [(role, without) for role in roles for without in trials_of(role, page[role])]
            return await asyncio.gather(*(verdict(role, without) for role, without in every))


async def _verdict(ground: Ground, folder: Path, role: str, rights: Collection[Right], without: Right | None) -> str:
    """What is wrong with the page; empty if nothing is."""
    result = await Trial(ground, role, folder).run([right for right in rights if right != without])
    return wrong_with(role, without, result)


def wrong_with(role: str, without: Right | None, result: Result) -> str:
    """What this result says against the page; empty if nothing."""
    if without is None:
        return "" if result.done else f"WRONG: {role} does not work: {sorted(result.denied)}\n{result.output[-3000:]}"
    if result.done:
        return f"WRONG: {role} works without {without}"
    return "" if result.denied else f"WRONG: {role} failed without {without}, but the broker denied it nothing"


if __name__ == "__main__":
    sys.exit(main())
