"""Tests of the sandbox: its books as tables, and its manners over real HTTP."""
