"""The path of an order through the adapter stays short, and its values are cheap to make."""

from __future__ import annotations

import sys
from dataclasses import is_dataclass
from types import FrameType

import pytest

from benchmarks import order_path


async def test_a_plain_order_passes_few_files() -> None:
    """A reader who follows it can keep the whole path in mind."""
    report = await order_path.measure()

    assert [aim.what for aim in report.aims if not aim.met] == []


async def test_a_plain_order_makes_no_frozen_dataclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen dataclass takes five times as long to make as a struct (decision 39)."""
    made: set[type] = set()
    note = order_path.Trace._note

    def noting(trace: order_path.Trace, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "__init__" and frame.f_code.co_filename == "<string>":
            made.add(type(frame.f_locals["self"]))
        note(trace, frame, event, argument)

    monkeypatch.setattr(order_path.Trace, "_note", noting)
    await order_path.trace()

    assert sys.getprofile() is None
    frozen = {
        made_type for made_type in made if is_dataclass(made_type) and made_type.__setattr__ is not object.__setattr__
    }
    assert {made_type.__name__ for made_type in frozen} == set()
    assert made  # the check sees dataclasses that are not frozen
