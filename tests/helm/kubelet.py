"""Starts a container of a rendered pod on this machine, as a kubelet would, without a container.

It reads everything from the objects: command, arguments, environment, mounted files, ports, probes. Only what this
machine has otherwise is exchanged: mounted paths lie below a folder, and addresses, ports and names of the mapping
become those of the test.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from helm.objects import Pod

Secrets = Mapping[str, Mapping[str, str]]
"""Texts by the name of the Secret and the key in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubelet:
    """One pod on this machine."""

    pod: Pod
    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Secrets
    root: Path
    exchanged: Mapping[object, object] = field(default_factory=dict)
    """What stands in settings, variables or arguments, and what is used instead."""

    def container(self, name: str) -> Mapping[str, Any]:
        """The container of this name."""
        (found,) = (each for each in self.pod.containers if each["name"] == name)
        return found

    def mount(self, name: str) -> None:
        """Write the files of all volumes that the container mounts."""
        for mount in self.container(name)["volumeMounts"]:
            folder = self._here(mount["mountPath"])
            folder.mkdir(parents=True, exist_ok=True)
            for path, text in self._files(self.pod.volumes[mount["name"]]).items():
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                file.chmod(0o444)

    def _here(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _files(self, volume: Mapping[str, Any]) -> dict[str, str]:
        """The files of a volume. Raises KeyError for a key that does not exist, for which a pod waits forever."""
        if "emptyDir" in volume:
            return {}
        if "configMap" in volume:
            data = self.config_maps[volume["configMap"]["name"]]
            texts = {each["path"]: data[each["key"]] for each in volume["configMap"]["items"]}
            return {path: self._settings(text) if path.endswith(".yaml") else text for path, text in texts.items()}
        files = {}
        for source in volume["projected"]["sources"]:
            data = self.secrets[source["secret"]["name"]]
            for each in source["secret"]["items"]:
                if each["key"] in data or not source["secret"].get("optional"):
                    files[each["path"]] = data[each["key"]]
        return files

    def _settings(self, text: str) -> str:
        """A settings file with its values exchanged."""
        return yaml.safe_dump(self._exchanged(yaml.safe_load(text)), allow_unicode=True)

    def _exchanged(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._exchanged(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self._exchanged(below) for below in value]
        if value in self.exchanged:
            return self.exchanged[value]
        return str(self._here(value)) if isinstance(value, str) and value.startswith("/") else value

    def environment(self, name: str) -> dict[str, str]:
        """The container's environment, and nothing of this process's but where its programs are."""
        given = {each["name"]: self._exchanged(each["value"]) for each in self.container(name)["env"]}
        return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.root), **given}

    def command(self, name: str) -> list[str]:
        """The container's command and arguments."""
        container = self.container(name)
        return [*container["command"], *(self._exchanged(each) for each in container["args"])]

    async def start(self, name: str, log: Path) -> asyncio.subprocess.Process:
        """Start the container's process; its output goes to `log`."""
        self.mount(name)
        with log.open("wb") as output:
            return await asyncio.create_subprocess_exec(
                *self.command(name), env=self.environment(name), cwd=self.root, stdout=output, stderr=output
            )

    async def run(self, name: str, log: Path) -> int:
        """Run the container to its end; its exit code."""
        return await (await self.start(name, log)).wait()

    def port(self, name: str, port: str) -> int:
        """The port of this name, as it is on this machine."""
        (number,) = (each["containerPort"] for each in self.container(name)["ports"] if each["name"] == port)
        return int(self._exchanged(number))

    async def passes(self, name: str, probe: str) -> bool:
        """Whether a probe of the container passes now."""
        target: Mapping[str, Any] = self.container(name)[probe]["httpGet"]
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                answer = await client.get(f"http://127.0.0.1:{self.port(name, target['port'])}{target['path']}")
        except httpx.TransportError:
            return False
        return 200 <= answer.status_code < 400


def pod_of(objects: Sequence[Mapping[str, Any]], kind: str) -> Pod:
    """The pod of the only object of this kind."""
    (owner,) = (each for each in objects if each["kind"] == kind)
    return Pod(owner)


def config_maps(objects: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, str]]:
    """The data of all ConfigMaps by name."""
    return {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
