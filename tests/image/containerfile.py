"""Reads a Containerfile, and executes its steps below a folder instead of in a container.

A path of the container, `/opt/x`, becomes `{root}/opt/x`; paths of the system (`/usr`, `/bin`) stay. Each stage begins
with an empty folder, and the last one keeps what was copied into it. What comes from the base image is the machine's:
the shell, and Python with pip.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STEP_SECONDS = 600
_PATH = re.compile(r"(?<![\w./}-])/(?=(?:build|opt|src|tmp|wheels)\b)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in upper case, and the rest of its lines as one."""

    word: str
    text: str


def instructions(path: Path) -> Iterator[Instruction]:
    """The instructions of a file, without comments."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, text = line.strip().partition(" ")
            yield Instruction(word.upper(), text.strip())


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, beginning with its FROM; those before the first FROM belong to none."""
    found: list[list[Instruction]] = []
    for each in instructions(path):
        if each.word == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


def build_context(root: Path) -> list[Path]:
    """The files below `root` that `.containerignore` lets into the build, relative to it."""
    rules = [line for line in (root / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = {line[1:] for line in rules if line.startswith("!")}
    ignored = [line.removeprefix("**/") for line in rules if line.startswith("**/")]
    assert set(rules) == {"*", *(f"!{name}" for name in kept), *(f"**/{name}" for name in ignored)}, "unknown rules"
    files = (path for name in kept for path in ([root / name] if (root / name).is_file() else (root / name).rglob("*")))
    inside = (path.relative_to(root) for path in files if path.is_file())
    return sorted(path for path in inside if not any(fnmatch.filter(path.parts, pattern) for pattern in ignored))


@dataclass(slots=True)
class Image:
    """The result of a build: its folder, and what its instructions set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    folders: dict[str, Path] = field(default_factory=dict)
    """The folders of earlier stages, by name."""

    def here(self, text: str) -> str:
        """The text with paths of the container as paths below the folder."""
        return _PATH.sub(f"{self.root}/", text)

    def process_environment(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a process of this image; HOME is this folder."""
        return {**self.environment, "HOME": str(home), **more}


class Builder:
    """Executes the instructions of a file below `folder`. `environment` is added to that of each RUN."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._extra = dict(environment)
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        self._base = folder / "base"
        self._base.mkdir()
        (self._base / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
        pip = self._base / "pip"
        pip.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pip "$@"\n')
        pip.chmod(0o755)

    def build(self, file: Path, context: Path, arguments: Mapping[str, str], *, on: Image | None = None) -> Image:
        """Build all stages; `on` is the image that the only FROM names."""
        files = build_context(context) if on is None else None
        image = on or self._empty({})
        for number, stage in enumerate(stages(file)):
            if number:
                image = self._empty(image.folders)
            for each in stage[1:]:
                self._execute(image, each, context, files, arguments)
            name = stage[0].text.partition(" AS ")[2]
            if name:
                image.folders[name] = image.root.rename(image.root.with_name(name))
        return image

    def _empty(self, folders: dict[str, Path]) -> Image:
        root = self._folder / "root"
        root.mkdir()
        return Image(root=root, environment={"PATH": f"{self._base}:/usr/bin:/bin"}, folders=folders)

    def _execute(
        self, image: Image, step: Instruction, context: Path, files: list[Path] | None, arguments: Mapping[str, str]
    ) -> None:
        def filled(text: str) -> str:
            known = {**arguments, **image.environment}
            return _VARIABLE.sub(lambda name: known[name[1]], text)

        match step.word:
            case "RUN":
                self._run(image, step.text, arguments)
            case "COPY":
                self._copy(image, step.text, context, files)
            case "ENV":
                for name, value in _pairs(step.text):
                    image.environment[name] = filled(image.here(value))
            case "LABEL":
                image.labels |= {name: filled(value) for name, value in _pairs(step.text)}
            case "WORKDIR":
                image.workdir = step.text
                Path(image.here(step.text)).mkdir(parents=True, exist_ok=True)
            case "USER":
                image.user = step.text
            case "ENTRYPOINT":
                image.entrypoint = step.text
            case "ARG" | "EXPOSE" | "CMD":
                pass
            case _:
                raise AssertionError(f"this builder does not know {step.word}")

    def _run(self, image: Image, command: str, arguments: Mapping[str, str]) -> None:
        ended = subprocess.run(
            ["/bin/sh", "-e", "-c", image.here(command)],
            cwd=image.here(image.workdir) if image.workdir != "/" else image.root,
            env={**arguments, **image.process_environment(self._home, **self._extra)},
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"RUN {command}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"

    def _copy(self, image: Image, text: str, context: Path, files: list[Path] | None) -> None:
        *sources, target = text.split()
        to = Path(image.here(os.path.join(image.workdir, target)))
        if sources[0].startswith("--from="):
            stage, (source,) = image.folders[sources[0].removeprefix("--from=")], sources[1:]
            shutil.copytree(stage / source.lstrip("/"), to, symlinks=True)
            return
        for source in sources:
            if files is None:
                found = [path.relative_to(context) for path in context.glob(source)]
                wanted = {path: to / path.name for path in found}
            else:
                found = [path for path in files if path == Path(source) or Path(source) in path.parents]
                wanted = {path: to / (path.relative_to(source) if path != Path(source) else path) for path in found}
            assert found, f"COPY {source}: there is no such file in the build context"
            for path, copy in wanted.items():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(context / path, copy)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for each in shlex.split(text):
        name, _, value = each.partition("=")
        yield name, value
