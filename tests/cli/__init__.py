"""Tests of the commands; `running` has what they share."""
