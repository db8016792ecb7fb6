"""A supervised command never outlives its parent, whatever happens to either."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from adapter.dev.local_kafka.supervised import Supervised
from dev.local_kafka.processes import failure, goes, is_gone, parent

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
IGNORES_TERM = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]
SCRIPT = """
import os, signal, sys, time
for each in (signal.SIGHUP, signal.SIGINT):  # nohup and a shell's background jobs have them ignored
    signal.signal(each, signal.SIG_DFL)
from pathlib import Path
from adapter.dev.local_kafka.supervised import Supervised
folder = Path({folder!r})
child = Supervised({command!r}, log=folder.parent / "log", environment=os.environ, remove_when_orphaned=folder)
{then}
print(child.pid, child._watchdog.pid, flush=True)
time.sleep(600)
"""


def supervised(command: list[str], log: Path) -> Supervised:
    return Supervised(command, log=log, environment=os.environ, remove_when_orphaned=None)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("then", ["", "os.fork() == 0 and time.sleep(600)"], ids=["alone", "with a fork"])
def test_the_command_ends_with_its_parent(tmp_path: Path, how: signal.Signals, then: str) -> None:
    """Killed in whatever way, even with a fork that holds the pipe: the command goes, and the folder with it."""
    folder = tmp_path / "data"
    folder.mkdir()
    process = parent(SCRIPT.format(folder=str(folder), command=SLEEPS, then=then))
    command, watchdog = map(int, failure(process))

    process.send_signal(how)
    process.wait()

    try:
        assert goes(command)
        assert goes(watchdog)
        assert not folder.exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL) if then else None
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent by itself")
def test_the_command_ends_with_its_watchdog(tmp_path: Path) -> None:
    """Killing the watchdog does not set the command free."""
    running = supervised(SLEEPS, tmp_path / "log")

    running._watchdog.kill()

    assert goes(running.pid)
    running.kill()


def test_a_command_that_ends_says_how(tmp_path: Path) -> None:
    """Its exit status is known and its output is in the log."""
    log = tmp_path / "log"
    running = supervised([sys.executable, "-c", "print('bye'); raise SystemExit(7)"], log)

    assert running.wait(10) == 7
    assert log.read_text(encoding="utf-8") == "bye\n"
    running.kill()
    assert running.status == 7


def test_terminating_is_asking_first(tmp_path: Path) -> None:
    """A command that ends when asked is not killed."""
    running = supervised(SLEEPS, tmp_path / "log")

    assert running.terminate(10)
    assert running.status == 256 - signal.SIGTERM
    assert is_gone(running.pid)


def test_a_command_that_will_not_end_is_killed(tmp_path: Path) -> None:
    """The grace is all it gets."""
    log = tmp_path / "log"
    running = supervised(IGNORES_TERM, log)
    while "ready" not in log.read_text(encoding="utf-8"):
        pass

    assert not running.terminate(0.2)
    assert is_gone(running.pid)


def test_killing_twice_is_once(tmp_path: Path) -> None:
    """Ending what has ended is fine."""
    running = supervised(SLEEPS, tmp_path / "log")

    running.kill()
    running.kill()

    assert running.status == 256 - signal.SIGKILL


def test_a_command_that_cannot_run_is_an_error_with_its_reason_in_the_log(tmp_path: Path) -> None:
    """Not a number where a process id should be."""
    log = tmp_path / "log"

    with pytest.raises(OSError, match="command"):
        supervised([str(tmp_path / "no-such-program")], log)
    assert "no-such-program" in log.read_text(encoding="utf-8")


def test_the_watchdog_needs_nothing_but_itself() -> None:
    """It runs isolated, so it may import nothing of ours and nothing installed."""
    import adapter.dev.local_kafka.watchdog as watchdog

    imported = textwrap.dedent(Path(watchdog.__file__).read_text(encoding="utf-8"))
    assert "import adapter" not in imported
    assert "from adapter" not in imported
