"""Stands in for the Java process: the same command line, log lines and port, in a tenth of a second.

Started as `fake_kafka.py HOW MAIN_CLASS ARGUMENTS...`; what HOW says is what goes wrong.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path


def format_storage(how: str, properties: dict[str, str]) -> None:
    if how == "cannot-format":
        print("the disk is full")
        sys.exit(1)
    data = Path(properties["log.dirs"])
    data.mkdir(parents=True)
    (data / "meta.properties").touch()


def serve(how: str, properties: dict[str, str]) -> None:
    port = int(properties["listeners"].split(",")[0].rpartition(":")[2])
    print("serving", flush=True)
    if how == "dies":
        print("ERROR out of luck")
        sys.exit(3)
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "never-ready":
        time.sleep(60)
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError:
        print("Socket server failed to bind: Address already in use.")
        sys.exit(1)
    print("Kafka Server started", flush=True)
    while True:
        listening.accept()[0].close()


def main(how: str, main_class: str, *arguments: str) -> None:
    lines = Path(arguments[-1]).read_text(encoding="utf-8").splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    if main_class == "kafka.tools.StorageTool":
        format_storage(how, properties)
    else:
        serve(how, properties)


if __name__ == "__main__":
    main(*sys.argv[1:])
