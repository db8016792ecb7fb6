"""What the conformance suite finds: values, for a command to show, for a test to look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: an error costs orders or the start, a warning may, a note says what was not seen."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found: `what`, at which `hook` (None: at the plugin itself), and its `cure`."""

    level: Level
    hook: str | None = None
    what: str
    cure: str

    def __str__(self) -> str:
        location = f"{self.hook}: " if self.hook else ""
        return f"{self.level}: {location}{self.what} {self.cure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A plugin and all that was found about it; `calls` is how often its hooks were called for that.

    `by_settings`: nothing but its settings is wrong, so that its hooks could not be called.
    """

    name: str
    where: str
    hooks: tuple[str, ...] = ()
    calls: int = 0
    findings: tuple[Finding, ...] = ()
    by_settings: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing is an error."""
        return not any(finding.level is Level.ERROR for finding in self.findings)
