"""The commands: each reads its arguments, calls the rooms that do the work, and prints what came of it.

    entry         where the process begins; the one place that turns errors into sentences and exit codes
    program       which commands there are
    invocation    what a command is told, and the options that every command has
    output        tables, facts and JSON on standard output; notes on standard error
    one file per command or group of commands, and `views` of what they show where that is worth testing by itself

Starting must be quick (`--help` in less than half a second), so a command imports the rooms it needs when it runs.
"""

from adapter.cli.main import main

__all__ = ["main"]
