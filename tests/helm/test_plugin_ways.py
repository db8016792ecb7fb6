"""The examples of plugins, run as their pods would: the adapter finds what they bring."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from helm.examples import FOLDER, RENDERED
from helm.kubelet import Kubelet, config_maps, pod_of
from helm.renderer import yaml_documents

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


def test_a_wheel_is_unpacked_and_found_by_its_entry_point(tmp_path: Path) -> None:
    """The program of the init container unpacks the wheels; PYTHONPATH makes them importable."""
    kubelet = _kubelet("plugin-wheels", tmp_path)
    wheels = tmp_path / "ecticket-wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "shop_bundles-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("shop_bundles.py", MODULE)
        wheel.writestr(
            "shop_bundles-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop-bundles\nVersion: 1.0\n"
        )
        wheel.writestr("shop_bundles-1.0.dist-info/entry_points.txt", "[ecticket_adapter]\nbundles = shop_bundles\n")
    python, flag, program = kubelet.container("ecticket-plugins")["command"]
    for mount in kubelet.container("ecticket-plugins")["volumeMounts"]:
        program = program.replace(f'"{mount["mountPath"]}"', f'"{tmp_path}{mount["mountPath"]}"')
    (tmp_path / "opt" / "ecticket-adapter" / "plugins").mkdir(parents=True)

    assert (python, flag) == ("python", "-c")
    subprocess.run([sys.executable, flag, program], check=True)
    assert "bundles" in _plugins(kubelet)
