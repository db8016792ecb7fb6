"""Runs commands of the adapter one after another in one process, each with its output in files of its own.

Arguments: a folder, and a JSON list of commands. `NUMBER.out` and `NUMBER.err` get what each command writes, and
`codes.json` the exit codes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def run_all(folder: Path, commands: list[list[str]]) -> None:
    """Run the commands."""
    from adapter.cli import main

    codes = []
    for number, arguments in enumerate(commands):
        for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
            with (folder / f"{number}.{name}").open("wb") as file:
                os.dup2(file.fileno(), stream.fileno())
        codes.append(main(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    (folder / "codes.json").write_text(json.dumps(codes), encoding="utf-8")


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), json.loads(sys.argv[2]))
