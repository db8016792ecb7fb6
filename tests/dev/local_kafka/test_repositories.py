"""Where jars are asked for: what the machine is set up for wins over Maven Central."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.dev.local_kafka.repositories import repositories

NAMESPACE = ' xmlns="http://maven.apache.org/SETTINGS/1.2.0"'


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without any configuration."""
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    (tmp_path / ".m2").mkdir()
    return tmp_path


def mirrored(home: Path, covers: str, namespace: str = NAMESPACE) -> dict[str, str]:
    mirror = f"<mirror><id>m</id><mirrorOf>{covers}</mirrorOf><url>http://127.0.0.1:1/m/</url></mirror>"
    text = f"<settings{namespace}><mirrors>{mirror}</mirrors></settings>"
    (home / ".m2" / "settings.xml").write_text(text, encoding="utf-8")
    return repositories(home)


def test_without_configuration_it_is_maven_central(home: Path) -> None:
    """The default is jgo's own."""
    (central,) = repositories(home).values()

    assert central.startswith("https://")


@pytest.mark.parametrize("covers", ["*", "central", "external:*", "other,central", "*,!other"])
@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
def test_a_mirror_in_mavens_settings_stands_for_central(home: Path, covers: str, namespace: str) -> None:
    """A network that is set up for Maven is set up for this, too."""
    assert mirrored(home, covers, namespace) == {"central": "http://127.0.0.1:1/m"}


@pytest.mark.parametrize("covers", ["other", "*,!central", "external:http:*"])
def test_a_mirror_of_others_does_not(home: Path, covers: str) -> None:
    """A mirror that leaves Maven Central out is not asked."""
    assert mirrored(home, covers)["central"].startswith("https://")


def test_jgos_own_configuration_wins(home: Path) -> None:
    """`central` there replaces it, other names come after it."""
    text = "[repositories]\ncentral = http://127.0.0.1:2/\nours = http://127.0.0.1:3\n"
    (home / "jgo.conf").write_text(text, encoding="utf-8")

    assert mirrored(home, "*") == {"central": "http://127.0.0.1:2", "ours": "http://127.0.0.1:3"}
