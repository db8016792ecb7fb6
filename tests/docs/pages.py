"""Runs a page of the manual: writes the files that it shows, runs its commands, compares what they print.

Three kinds of blocks count, in the order in which they stand:

    ```python family_tickets.py    a language and a path: the file is written
    ```console                     lines with `$ ` are commands; what stands below one is what it prints
    anything else                  is for reading, and not run

In what a command prints `...` stands for anything, within a line; a line that is nothing else, for any lines. Standard
error counts. A command must succeed. One with `&` at its end goes on until the page ends: what is shown of it is waited
for. Ports that the page names are exchanged for free ones, there and back, since another test may be at them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

from examples.fresh import Fresh

from adapter.dev.local_kafka.ports import free_ports

_BLOCK = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"\b8700\b")


@dataclass(frozen=True, slots=True)
class File:
    """A file to write."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run, and what it prints."""

    text: str
    shown: str

    @property
    def goes_on(self) -> bool:
        """Whether it runs beside what comes later."""
        return self.text.endswith("&")


Step = File | Command


def steps(page: str) -> Iterator[Step]:
    """What is to be done, in order."""
    for block in _BLOCK.finditer(page):
        language, _, path = block["info"].strip().partition(" ")
        if language == "console":
            yield from _commands(block["body"])
        elif path:
            yield File(path, block["body"])


def _commands(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        text, _, shown = part.partition("\n")
        yield Command(text, shown)


def fits(shown: str, printed: str) -> bool:
    """Whether what was printed is what is shown."""
    pattern = "".join(_line(line) for line in shown.splitlines())
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.splitlines())) is not None


def _line(line: str) -> str:
    if line.strip() == "...":
        return r"(?:[^\n]*\n)*?"
    return re.escape(line.rstrip()).replace(r"\.\.\.", r"[^\n]*?") + r"\n"


@dataclass(slots=True)
class Reader:
    """A reader who does what a page says, in a folder and an environment of their own."""

    fresh: Fresh
    folder: Path
    _beside: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _ports: Mapping[str, str] = field(default_factory=lambda: {"8700": str(*free_ports(1))})
    _jobs: Iterator[int] = field(default_factory=lambda: count(1))

    def do(self, step: Step) -> None:
        """Do one thing, and fail where the page is wrong."""
        if isinstance(step, File):
            (self.folder / step.path).write_text(self._there(step.content), encoding="utf-8")
        elif step.goes_on:
            self._start(step)
        elif step.text.startswith("kill %"):
            self._end(step.text.removeprefix("kill "))
        else:
            self._run(step)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Ends what goes on when the page ends, however it ends."""
        try:
            yield
        finally:
            for job in list(self._beside):
                self._end(job)

    def _run(self, step: Command) -> None:
        place = self.fresh.folder / "place"
        script = f"{self._there(step.text)}\ncode=$?\npwd > {shlex.quote(str(place))}\nexit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            env=self.fresh.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        printed = self._back(done.stdout)
        assert done.returncode == 0, f"$ {step.text}\nexit code {done.returncode}\n{printed}"
        assert fits(step.shown, printed), f"$ {step.text}\nshown:\n{step.shown}\nprinted:\n{printed}"
        self.folder = Path(place.read_text(encoding="utf-8").strip())

    def _start(self, step: Command) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {self._there(step.text).removesuffix('&')}"],
            env={**self.fresh.environment, "PYTHONUNBUFFERED": "1"},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._beside[f"%{next(self._jobs)}"] = process
        printed = "".join(self._back(line) for line in _first_lines(process.stdout, len(step.shown.splitlines())))
        assert fits(step.shown, printed), f"$ {step.text}\nshown:\n{step.shown}\nprinted:\n{printed}"

    def _end(self, job: str) -> None:
        process = self._beside.pop(job)
        process.terminate()
        process.communicate(timeout=30)

    def _there(self, text: str) -> str:
        return _PORT.sub(lambda port: self._ports[port[0]], text)

    def _back(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = text.replace(real, shown)
        return text


def _first_lines(stream: IO[str] | None, wanted: int) -> Iterator[str]:
    assert stream is not None
    for _ in range(wanted):
        yield stream.readline()
