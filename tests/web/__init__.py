"""Tests of the room `adapter/web`."""
