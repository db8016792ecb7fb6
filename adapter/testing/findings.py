"""The conformance suite's findings as values: a command prints them, a test asserts on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity: an error costs orders or stops the start, a warning may, a note names what was not checked."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding: `what` is wrong, at which `hook` (None: the plugin itself), and its `cure`."""

    level: Level
    hook: str | None = None
    what: str
    cure: str

    def __str__(self) -> str:
        location = f"{self.hook}: " if self.hook else ""
        return f"{self.level}: {location}{self.what} {self.cure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A plugin with its findings; `calls` counts the calls of its hooks.

    `by_settings`: only its settings are wrong, so its hooks could not be called.
    """

    name: str
    where: str
    hooks: tuple[str, ...] = ()
    calls: int = 0
    findings: tuple[Finding, ...] = ()
    by_settings: bool = False

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.level is Level.ERROR for finding in self.findings)
