"""The image, built step by step into a folder, used as a container would, and described by `make sbom`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from unprivileged import obey_file_modes

from image.containerfile import Builder, Image, build_context
from image.pinned import hashed, run_time_set

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPT = Path("opt", "ecticket-adapter")
ANY = {"INTERPRETER": "any"}
"""The machine's own Python stands for that of the base image, however it was built."""
SECONDS = 600


@pytest.fixture(scope="module")
def wheels() -> Path:
    """A folder with all wheels that the image needs; only the first run with these hashes needs an index."""
    files = [ROOT / "requirements" / name for name in ("build.txt", "image.txt")]
    key = hashlib.sha256(b"".join(map(Path.read_bytes, files)) + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / "build" / "wheels" / key
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--require-hashes"]
        for file in files:
            needed = ["--requirement", str(file), "--dest", str(folder)]
            subprocess.run([*command, *needed], cwd=ROOT, check=True, timeout=SECONDS)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def image(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of this repository, made read-only for its processes."""
    builder = Builder(tmp_path_factory.mktemp("image"), {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)})
    image = builder.build(ROOT / "Containerfile", ROOT, {"VERSION": PROJECT["version"], "REVISION": "abc", **ANY})
    _set_writable(image.root, writable=False)
    return image


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def _set_writable(root: Path, *, writable: bool) -> None:
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


def _start(image: Image, home: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """A process of the image, which obeys the modes of files as a user without rights does."""
    return subprocess.Popen(
        [shutil.which(command[0], path=image.environment["PATH"]) or command[0], *command[1:]],
        env=image.process_environment(home, **environment),
        cwd=image.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=obey_file_modes,
    )


def _output(image: Image, home: Path, *command: str) -> str:
    process = _start(image, home, *command)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out


def _snapshot(root: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        yield str(path.relative_to(root)), facts.st_size, facts.st_mtime_ns


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_works_as_a_container_uses_it(image: Image, wheels: Path, home: Path, tmp_path: Path) -> None:
    """One test, so that the image is built once: read-only, pinned, readable for any user, and a base for plugins."""
    _refuses_other_files(wheels, tmp_path)
    _runs_read_only(image, home)
    _holds_the_pinned_packages(image, home, tmp_path)
    _is_readable_for_any_user_and_compiled(image)
    _is_a_base_for_plugins(image, home, tmp_path)


def _refuses_other_files(wheels: Path, tmp_path: Path) -> None:
    """A file of the right name and version with other content ends the build, for each file of hashes."""
    for name in ("build", "image"):
        context = tmp_path / f"context-{name}"
        for file in build_context(ROOT):
            (context / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, context / file)
        shutil.copy2(ROOT / ".containerignore", context)
        requirements = context / "requirements" / f"{name}.txt"
        text = requirements.read_text(encoding="utf-8")
        for value in hashed(text)["pluggy"].hashes:
            text = text.replace(value, f"sha256:{hashlib.sha256(value.encode()).hexdigest()}")
        requirements.write_text(text, encoding="utf-8")
        builder = Builder(tmp_path / f"refused-{name}", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)})

        with pytest.raises(AssertionError, match=f"(?s)requirements/{name}.txt.*DO NOT MATCH THE HASHES.*pluggy"):
            builder.build(ROOT / "Containerfile", context, {"VERSION": "1", "REVISION": "abc", **ANY})


def _runs_read_only(image: Image, home: Path) -> None:
    """Commands and a start write nothing, neither into the image nor into the home folder."""
    (entrypoint,) = json.loads(image.entrypoint)
    before = list(_snapshot(image.root))
    shown = _output(image, home, entrypoint, "--version")
    reference = _output(image, home, entrypoint, "settings", "reference", "--json")
    service = _start(
        image,
        home,
        entrypoint,
        "run",
        ECTICKET_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1",
        ECTICKET_MERCHANTS=json.dumps({"1": {"hash_key": "k" * 16, "hash_iv": "v" * 16}}),
        ECTICKET_SUBMIT__OPERATOR="web",
        ECTICKET_ADMIN__PORT="0",
        ECTICKET_CALLBACKS__PORT="0",
    )
    with service:
        assert service.stderr is not None
        waiting = next((line for line in service.stderr if '"start-waits"' in line), None)
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=SECONDS)

    assert shown.split() == ["ecticket-adapter", version("ecticket-adapter")]
    assert json.loads(reference)
    assert waiting is not None
    assert service.returncode == 0
    assert list(_snapshot(image.root)) == before
    assert list(home.iterdir()) == []


def _holds_the_pinned_packages(image: Image, home: Path, tmp_path: Path) -> None:
    """The bill of materials, the environment and the constraints agree; what only builds or tests is not there."""
    packages = json.loads(_output(image, home, "python", "-m", "pip", "list", "--format", "json"))
    installed = {canonicalize_name(each["name"]): each["version"] for each in packages}
    document = tmp_path / "sbom.json"
    made = subprocess.run(
        ["make", "sbom", f"SBOM_OF={image.root / OPT}", f"SBOM={document}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    bill = json.loads(document.read_text(encoding="utf-8"))

    own = {"ecticket-adapter": PROJECT["version"]}
    assert bill["bomFormat"] == "CycloneDX"
    assert {canonicalize_name(each["name"]): each["version"] for each in bill["components"]} == run_time_set()
    assert bill["metadata"]["component"]["name"] in own
    assert installed == {**run_time_set(), **own}
    assert image.labels["org.opencontainers.image.version"] == PROJECT["version"]
    assert image.labels["org.opencontainers.image.revision"] == "abc"
    assert [path.read_text().strip() for path in (image.root / OPT).rglob("adapter/commit.txt")] == ["abc"]


def _is_readable_for_any_user_and_compiled(image: Image) -> None:
    """OpenShift chooses a uid; it belongs to group 0 and to nothing else."""
    paths = [path for path in (image.root / OPT).rglob("*") if not path.is_symlink()]
    wanted = {path: 0o055 if path.is_dir() else 0o044 for path in paths}
    modules = [path for path in paths if path.suffix == ".py" and "adapter" in path.parts[-3:-1]]

    assert [path for path, mode in wanted.items() if path.stat().st_mode & mode != mode] == []
    assert modules
    tag = sys.implementation.cache_tag
    assert all((path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists() for path in modules)


def _is_a_base_for_plugins(image: Image, home: Path, tmp_path: Path) -> None:
    """The chart's example, with a plugin of this repository; it cannot replace a pinned version."""
    file = ROOT / "helm" / "examples" / "plugin-image" / "Containerfile"
    (tmp_path / "wheels").mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheels")]
    subprocess.run(command, cwd=ROOT / "plugins" / "skip-policy", check=True, capture_output=True, timeout=SECONDS)
    _set_writable(image.root, writable=True)
    with_plugin = Builder(tmp_path / "builder", {}).build(file, tmp_path, {}, on=image)
    _set_writable(image.root, writable=False)
    listed = json.loads(_output(with_plugin, home, "ecticket-adapter", "plugins", "list", "--json"))

    assert "skip-policy" in json.dumps(listed)
    assert with_plugin.user.isdecimal()
    assert int(with_plugin.user) > 0
    assert with_plugin.environment["PIP_CONSTRAINT"].endswith("constraints.txt")
    assert os.access(with_plugin.environment["PIP_CONSTRAINT"], os.R_OK)


@pytest.fixture
def builder_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `works` that writes down its arguments, and `broken` that cannot do anything, as on PATH."""
    calls = tmp_path / "calls"
    for name, code in (("works", 0), ("broken", 1)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> {calls}\nexit {code}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


def _make_image(*builders: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "image", f"BUILDERS={' '.join(builders)}", "IMAGE=registry.example/adapter:1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_make_image_takes_the_first_builder_that_works(builder_calls: Path) -> None:
    """A client without its daemon is passed over."""
    made = _make_image("broken", "no-such-program", "works", "works")
    calls = builder_calls.read_text().splitlines()

    assert made.returncode == 0, made.stderr
    assert [call.partition(" ")[2].split()[0] for call in calls] == ["info", "info", "build"]
    assert "--file Containerfile --tag registry.example/adapter:1" in calls[-1]
    assert re.search(rf"VERSION={re.escape(PROJECT['version'])} .*REVISION=\w+ \.$", calls[-1])


def test_make_image_names_what_it_needs(builder_calls: Path) -> None:
    """And fails."""
    made = _make_image("broken", "no-such-program")

    assert made.returncode != 0
    assert "broken no-such-program" in made.stderr
