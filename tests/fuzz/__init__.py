"""Fuzzes what reads bytes from outside: see `targets` for what must hold, and `python -m fuzz --help`."""
