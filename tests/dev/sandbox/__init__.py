"""Tests of the sandbox: its state as tables, and its behaviour over real HTTP."""
