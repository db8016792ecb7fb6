"""Tests of what is shipped as an example: the plugins in `plugins/`, the project of `plugins new`, the tutorial."""
