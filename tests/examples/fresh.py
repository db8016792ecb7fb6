"""A fresh environment, as one begins with who has installed the adapter and nothing else; made in a second, offline.

It is a virtual environment of its own that sees this one's packages, so that the adapter is there without being
installed again, and what is installed into it is not seen by other tests: an installed plugin is found by every adapter
in its environment, and must not be found by the adapter that is tested.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPTS: Mapping[str, str] = {
    "ecticket-adapter": "from adapter.__main__ import main",
    "pytest": "from pytest import main",
    "pip": "from pip._internal.cli.main import main",
}


@dataclass(frozen=True, slots=True)
class Fresh:
    """The environment in a folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The process environment in which it is active; nothing in it may fetch anything."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("ECTICKET_", "PYTEST_"))}
        return {
            **bare,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.folder),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads "no" and "0" as two negations: it is isolation that is off
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "COLUMNS": "120",
        }

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            [str(part) for part in command],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def must(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What a command says that succeeds."""
        done = self.run(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


def fresh_environment(folder: Path) -> Fresh:
    """Make one."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    here = next(path for path in site.getsitepackages() if Path(path, "pluggy").is_dir())
    (packages / "seen.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    for name, load in SCRIPTS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder / 'bin' / 'python'}\nimport sys\n{load}\nsys.exit(main())\n")
        script.chmod(0o755)
    assert Path(sys.prefix) != folder
    return Fresh(folder)
