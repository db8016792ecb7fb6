"""The commands: each parses its arguments, calls an operation, and prints the result.

    main             starts the process; turns errors into sentences and exit codes
    commands         lists the commands
    context          the context of a command, and the options that every command has
    operation_parts  builds what `operations` needs from the settings
    output           tables, facts and JSON on standard output; notes on standard error
    one module per command or group of commands

Starting must be quick (`--help` in less than half a second), so a command imports other packages when it runs.
"""

from adapter.cli.main import main

__all__ = ["main"]
