"""Selects the Maven repositories for the jars: the ones configured on this machine, else Maven Central.

Many networks reach Maven Central only through a mirror, which is configured in Maven's `~/.m2/settings.xml` or in jgo's
`jgo.conf`. The download itself honours proxy variables such as `HTTPS_PROXY`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL

CENTRAL = "central"
_MIRRORS_CENTRAL = {"*", "external:*", CENTRAL}


def repositories(home: Path) -> dict[str, str]:
    """Names and addresses of the repositories, in the order in which they are tried.

    jgo's own configuration overrides Maven's, and Maven's the default: as with jgo's command line, an entry named
    `central` replaces Maven Central.
    """
    configured = {name: url.rstrip("/") for name, url in GlobalSettings.load().repositories.items()}
    central = _mirror_of_central(home / ".m2" / "settings.xml") or MAVEN_CENTRAL_URL
    return {CENTRAL: central, **configured}


def _mirror_of_central(settings: Path) -> str | None:
    """The first mirror in Maven's settings that covers Maven Central."""
    if not settings.is_file():
        return None
    for covers, url in _mirrors(settings):
        patterns = {pattern.strip() for pattern in covers.split(",")}
        if patterns & _MIRRORS_CENTRAL and f"!{CENTRAL}" not in patterns:
            return url.strip().rstrip("/")
    return None


def _mirrors(settings: Path) -> Iterator[tuple[str, str]]:
    """The coverage and the address of each mirror."""
    root = ElementTree.parse(settings).getroot()  # noqa: S314  the user's own file
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        covers = mirror.findtext("{*}mirrorOf")
        url = mirror.findtext("{*}url")
        if covers and url:
            yield covers, url
