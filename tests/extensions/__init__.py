"""Tests of the room `adapter/extensions`."""
