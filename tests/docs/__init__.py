"""Tests of the manual: what a page shows is what happens."""
