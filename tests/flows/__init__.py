"""Tests of the room `adapter/flows`."""
