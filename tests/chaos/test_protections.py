"""Each protection can still be switched off: what it replaces exists under that name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.protections import PROTECTIONS

TESTS = Path(__file__).parent.parent
PROGRAM = """
import json, os, traceback
from chaos.protections import PROTECTIONS

failed = {}
for name, protection in PROTECTIONS.items():
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            protection.off()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as text:
        failed[name] = text.read()
    if os.waitstatus_to_exitcode(os.wait()[1]) != 0:
        failed[name] = failed[name] or "no traceback"
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def failures() -> dict[str, str]:
    """The traceback of each protection that cannot be switched off, else an empty text.

    Each is switched off in a process of its own, since it changes the adapter's modules. The processes are forks, since
    the imports take a hundred times as long.
    """
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=TESTS, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", PROTECTIONS)
def test_each_protection_can_be_switched_off(name: str, failures: dict[str, str]) -> None:
    """What it replaces exists under that name."""
    assert failures[name] == ""
