"""The examples of plugins, run as their pods would: the adapter finds what they bring."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helm.examples import FOLDER, RENDERED
from helm.kubelet import Kubelet, config_maps, pod_of
from helm.renderer import yaml_documents
from helm.settings_values import CHART

SECRETS = {"ecticket-keys": {f"merchants.3085676.{key}": "k" * 16 for key in ("hash_key", "hash_iv")}}
MODULE = """\
from adapter import hookimpl

@hookimpl
def accept_order(order):
    return None
"""


def _kubelet(example: str, root: Path) -> Kubelet:
    objects = yaml_documents((FOLDER / example / RENDERED).read_text(encoding="utf-8"))
    return Kubelet(
        pod=pod_of(objects, "Deployment"),
        config_maps=config_maps(objects),
        secrets=SECRETS,
        root=root,
    )


def _plugins(kubelet: Kubelet) -> str:
    """What `ecticket-adapter plugins list` prints in the adapter's container."""
    kubelet.mount("adapter")
    command = [*kubelet.command("adapter")[:1], "plugins", "list"]
    done = subprocess.run(
        command, env=kubelet.environment("adapter"), cwd=kubelet.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_module_in_the_config_map_is_loaded(tmp_path: Path) -> None:
    """Its path is in the settings, and the file is mounted there."""
    assert "family" in _plugins(_kubelet("plugin-files", tmp_path))


def _wheel(root: Path, name: str, *modules: str) -> None:
    """A wheel in the volume that the copying containers fill; its first module is a plugin."""
    folder = root / "ecticket-wheels"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for module in modules:
            wheel.writestr(module, MODULE)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        plugin = modules[0].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        wheel.writestr(f"{name}-1.0.dist-info/entry_points.txt", f"[ecticket_adapter]\n{name} = {plugin}\n")


def _unpack(kubelet: Kubelet, root: Path) -> subprocess.CompletedProcess[str]:
    """Run the init container that unpacks, with its mounts below `root`."""
    container = kubelet.container("ecticket-plugins")
    python, flag, program, *folders = container["command"]
    assert (python, flag) == ("python", "-c")
    assert {each["mountPath"] for each in container["volumeMounts"]} == set(folders)
    (root / "opt" / "ecticket-adapter" / "plugins").mkdir(parents=True)
    here = [f"{root}{folder}" for folder in folders]
    return subprocess.run([sys.executable, flag, program, *here], cwd=root, capture_output=True, text=True, check=False)


def test_a_wheel_is_unpacked_and_found_by_its_entry_point(tmp_path: Path) -> None:
    """The program of the init container unpacks the wheels; PYTHONPATH makes them importable."""
    kubelet = _kubelet("plugin-wheels", tmp_path)
    _wheel(tmp_path, "bundles", "shop_bundles.py")

    assert _unpack(kubelet, tmp_path).returncode == 0
    assert "bundles" in _plugins(kubelet)


@pytest.mark.parametrize(
    ("modules", "hidden"),
    [
        (["adapter/__init__.py"], "adapter"),
        (["shop.py", "adapter/extra.py"], "adapter"),
        (["shop.py", "pydantic/__init__.py"], "pydantic"),
        (["shop.py", "yaml.py"], "yaml"),
        (["shop.py", "json/__init__.py"], "json"),
        (["shop.py", "typing_extensions.cpython-314-x86_64-linux-gnu.so"], "typing_extensions"),
    ],
    ids=str,
)
def test_a_wheel_that_would_replace_a_package_of_the_image_is_refused(
    tmp_path: Path, modules: list[str], hidden: str
) -> None:
    """PYTHONPATH comes first, so the tested package would be replaced unseen. Nothing is unpacked."""
    kubelet = _kubelet("plugin-wheels", tmp_path)
    _wheel(tmp_path, "aaa", "fine.py")
    _wheel(tmp_path, "shop", *modules)
    done = _unpack(kubelet, tmp_path)

    assert done.returncode == 1
    assert f"shop-1.0-py3-none-any.whl brings {hidden}," in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "opt/ecticket-adapter/plugins").iterdir()) == []


def test_a_wheel_may_extend_a_namespace_of_the_image(tmp_path: Path) -> None:
    """A package without `__init__.py` has modules in several folders; one that the image has stays refused."""
    site = tmp_path / "site"
    (site / "space").mkdir(parents=True)
    (site / "space" / "taken.py").touch()
    program = (CHART / "files" / "unpack_wheels.py").read_text(encoding="utf-8")
    target = tmp_path / "target"
    target.mkdir()

    def unpack(module: str) -> int:
        _wheel(tmp_path, "shop", module)
        command = [sys.executable, "-c", program, str(tmp_path / "ecticket-wheels"), str(target)]
        return subprocess.run(command, env={"PYTHONPATH": str(site)}, capture_output=True, check=False).returncode

    assert unpack("space/free.py") == 0
    assert (target / "space" / "free.py").exists()
    assert unpack("space/taken.py") == 1


def test_two_wheels_with_one_module_and_none_at_all_are_refused(tmp_path: Path) -> None:
    """One of the two would be lost; and without a wheel the path is wrong."""
    kubelet = _kubelet("plugin-wheels", tmp_path)
    (tmp_path / "ecticket-wheels").mkdir()
    nothing = _unpack(kubelet, tmp_path)
    shutil.rmtree(tmp_path / "opt")
    _wheel(tmp_path, "one", "shop.py")
    _wheel(tmp_path, "two", "shop.py")
    twice = _unpack(kubelet, tmp_path)

    assert (nothing.returncode, twice.returncode) == (1, 1)
    assert "plugins.wheels[].path" in nothing.stderr
    assert "both bring shop." in twice.stderr
