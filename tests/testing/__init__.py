"""Tests of the room `adapter/testing`."""
