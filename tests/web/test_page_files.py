"""Pages are part of the package that is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ("adapter/web/assets", "adapter/web/console/assets", "adapter/dev/sandbox/assets")


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_every_page(tmp_path: Path) -> None:
    """The image installs the wheel, and a server without its page does not start."""
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())

    for folder in PAGES:
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir()}
        assert files
        assert files <= held
