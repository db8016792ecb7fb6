"""Tests of planning and deciding."""
