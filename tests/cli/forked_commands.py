"""Runs commands in children of one process, each in the same broken surroundings.

The first argument is JSON: `commands`, and what is wrong: `stdin`, `stdout` and `stderr` (a path, `closed` or
`broken pipe`; what is left out is read back), `folder_removed` (each command's own folder in `folder`), and `limits`.
Written to standard output is a list of `[code, out, err]`. A child is a fork, so that a broken environment is what the
interpreter and every import have met, and twenty commands cost little more than one start of Python.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field

SERVES = frozenset({"run", "sandbox"})
"""What runs until it is stopped; a command that does so too and is not here fails the tests by being killed."""
SERVE_SECONDS = 5.0
LIMIT_SECONDS = 60.0
AT_ONCE = 3
STREAMS = ("stdin", "stdout", "stderr")


@dataclass(slots=True)
class Child:
    """A command under way; `said` is what came on each stream."""

    number: int
    serves: bool
    began: float = field(default_factory=time.monotonic)
    stopped: bool = False
    output: dict[int, bytes] = field(default_factory=lambda: {1: b"", 2: b""})


def main() -> int:
    """Run them all."""
    import adapter.app  # what most commands import, so that a child does not
    import adapter.dev.demo.run
    import adapter.testing.conformance_suite  # noqa: F401

    gc.freeze()  # else the collector of each child looks, at the child's end, through all that is imported here
    wanted = json.loads(sys.argv[1])
    waiting = list(enumerate(wanted["commands"]))
    running: dict[int, Child] = {}
    results: dict[int, tuple[int, str, str]] = {}
    reading = selectors.DefaultSelector()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, arguments = waiting.pop(0)
            pipes = {stream: os.pipe() for stream in (1, 2)}
            pid = os.fork()
            if pid == 0:
                return _child(arguments, wanted, {stream: write for stream, (_, write) in pipes.items()})
            running[pid] = Child(number, serves=bool(SERVES & set(arguments)))
            for stream, (read, write) in pipes.items():
                os.close(write)
                reading.register(read, selectors.EVENT_READ, (running[pid], stream))
        _read_output(reading, 0.05)
        for pid, child in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _read_output(reading, 0)
                del running[pid]
                out, err = (child.output[stream].decode(errors="replace") for stream in (1, 2))
                results[child.number] = (os.waitstatus_to_exitcode(status), out, err)
            elif time.monotonic() - child.began > LIMIT_SECONDS:
                os.kill(pid, signal.SIGKILL)
            elif child.serves and time.monotonic() - child.began > SERVE_SECONDS and not child.stopped:
                child.stopped = True
                os.kill(pid, signal.SIGTERM)
    print(json.dumps([results[number] for number in sorted(results)]))
    return 0


def _read_output(reading: selectors.BaseSelector, seconds: float) -> None:
    """Take in what the children say; all that is there when `seconds` is 0."""
    while ready := reading.select(seconds):
        for key, _ in ready:
            child, stream = key.data
            came = os.read(key.fd, 1 << 16)
            child.output[stream] += came
            if not came:
                reading.unregister(key.fd)
                os.close(key.fd)
        if seconds:
            return


def _child(arguments: list[str], wanted: dict[str, object], pipes: dict[int, int]) -> int:
    from adapter.cli import main as command

    broken, no_writer = os.pipe()
    os.close(broken)
    for number, name in enumerate(STREAMS):
        place = str(wanted.get(name) or os.devnull)
        if place == "closed":
            os.close(number)
            setattr(sys, name, None)
        elif place == "broken pipe":
            os.dup2(no_writer, number)
        elif number in pipes and name not in wanted:
            os.dup2(pipes[number], number)
        else:
            os.dup2(os.open(place, os.O_WRONLY if number else os.O_RDONLY), number)
    os.closerange(3, 64)
    folder = tempfile.mkdtemp(dir=str(wanted["folder"]))
    os.chdir(folder)
    if wanted.get("folder_removed"):
        os.rmdir(folder)
    for name, limit in dict(wanted.get("limits") or {}).items():  # type: ignore[call-overload]  # from JSON
        resource.setrlimit(getattr(resource, name), (limit, limit))
    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
