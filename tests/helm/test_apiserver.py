"""`make apiserver-test` against stand-ins for kubectl: no cluster belongs to `make test`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helm import apiserver

KUBECTL = """\
#!/bin/sh
case "$*" in
  *"get --raw /version"*) {version};;
  *"apply --dry-run=server --filename=-"*) {apply};;
  *) echo "unexpected: $*" >&2; exit 64;;
esac
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in is written; it comes first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "kubectl"


def _write(path: Path, *, version: str = "exit 0", apply: str = "exit 0") -> None:
    path.write_text(KUBECTL.format(version=version, apply=apply), encoding="utf-8")
    path.chmod(0o755)


def _some(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [("part", {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}) for kind in ("A", "B")]
    monkeypatch.setattr(apiserver, "everything", lambda: iter(objects))


def test_everything_is_every_kind_of_the_chart_and_its_examples() -> None:
    """Each object once, those of the files beside an example included."""
    found = list(apiserver.everything())

    kinds = {each["kind"] for _, each in found}
    assert {"Deployment", "Job", "ConfigMap", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
    assert {"HorizontalPodAutoscaler", "ScaledObject", "HTTPRoute", "ExternalSecret", "KafkaUser"} <= kinds
    assert len(found) == len({repr(each) for _, each in found})


def test_without_a_cluster_nothing_is_tested(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without kubectl nor when it reaches nothing; that is no success."""
    _write(kubectl, version="echo refused >&2; exit 1")
    assert apiserver.main([]) == apiserver.NO_CLUSTER

    monkeypatch.setenv("PATH", str(kubectl.parent))
    kubectl.unlink()
    assert apiserver.main([]) == apiserver.NO_CLUSTER


def test_what_the_server_accepts_is_fine(
    kubectl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each object is sent in the given namespace."""
    _some(monkeypatch)
    _write(kubectl, apply=f"cat >> {kubectl.parent}/sent; exit 0")

    assert apiserver.main(["--namespace", "shop"]) == apiserver.ACCEPTED
    assert (kubectl.parent / "sent").read_text().count('"namespace": "shop"') == 2
    assert "2 accepted, 0 rejected, 0 unknown-kind" in capsys.readouterr().out


def test_what_the_server_rejects_fails(
    kubectl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the server's message; a kind without an operator is listed and does not fail."""
    _some(monkeypatch)
    missing = 'echo "no matches for kind \\"A\\" in version \\"v1\\"" >&2; exit 1'
    _write(kubectl, apply=f"if grep -q '\"kind\": \"A\"'; then {missing}; else echo 'spec: forbidden' >&2; exit 1; fi")

    assert apiserver.main([]) == apiserver.REJECTED
    printed = capsys.readouterr().out
    assert "unknown-kind: part: A x" in printed
    assert "rejected: part: B x: spec: forbidden" in printed
    assert "0 accepted, 1 rejected, 1 unknown-kind" in printed
