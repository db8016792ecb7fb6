"""A process that crashes leaves no memory image, which would have every key in it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .command_runner import CLOSED_PORT

MARK = "MARKEDKEYMARKED0"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="core dumps of other systems are not looked at")


def _allow_core_dumps() -> None:
    """As a host with core dumps switched on does; the hard limit may forbid it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


@contextmanager
def _started(tmp_path: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that has the marked key in its environment, in a folder of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ECTICKET_")},
        "ECTICKET_MERCHANTS": f'{{"1": {{"hash_key": "{MARK}", "hash_iv": "{MARK}"}}}}',
        "ECTICKET_SUBMIT__OPERATOR": "web",
        "ECTICKET_KAFKA__BOOTSTRAP_SERVERS": CLOSED_PORT,
        "ECTICKET_CALLBACKS__ENABLED": "false",
        "ECTICKET_ADMIN__PORT": "0",
        "ECTICKET_CONSOLE__ENABLED": "false",
    }
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=_allow_core_dumps,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _crash(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, bool]:
    """Send the signal; return that which ended the process, and whether the kernel wrote a core dump."""
    process.send_signal(number)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    return os.WTERMSIG(status), os.WCOREDUMP(status)


def _until_waiting(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if "start-waits" in line:
            return
    pytest.fail("it does not run")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_crash_of_the_running_adapter_leaves_no_core_dump(tmp_path: Path, number: signal.Signals) -> None:
    """Also where the host switches core dumps on."""
    with _started(tmp_path, "-m", "adapter", "run") as process:
        _until_waiting(process)
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        owner = Path(f"/proc/{process.pid}/environ").stat().st_uid
        ended_by, dumped = _crash(process, number)

    (soft,) = [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")]
    assert (ended_by, dumped, soft) == (number, False, "0")
    assert owner == 0  # the kernel gives the files of an undumpable process to root
    assert not list(tmp_path.iterdir())


def test_another_process_leaves_one(tmp_path: Path) -> None:
    """The counterpart, where this machine writes core dumps into the working folder."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 or pattern.startswith(("|", "/")):
        pytest.skip(f"CORE DUMPS CANNOT BE COMPARED: the hard limit is 0, or they go to {pattern}")
    code = "import sys, time; print('start-waits', file=sys.stderr, flush=True); time.sleep(60)"
    with _started(tmp_path, "-c", code) as process:
        _until_waiting(process)
        _, dumped = _crash(process, signal.SIGABRT)

    assert dumped
    assert any(MARK.encode() in path.read_bytes() for path in tmp_path.iterdir())
