"""Every optional part and every example, rendered once for all tests of a process."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from helm.cases import PARTS
from helm.examples import Example, all_examples
from helm.renderer import RELEASE, Rendered, find_renderer
from helm.settings_values import CHART

EXAMPLES: Mapping[str, Example] = {f"example {each.name}": each for each in all_examples()}
CASES = (*PARTS, *EXAMPLES)


@functools.cache
def rendered_case(case: str, release: str = RELEASE) -> Rendered:
    """What a part or an example becomes. Not to be changed."""
    example = EXAMPLES.get(case)
    if example is not None:
        return find_renderer().render(example.chart, example.values, release=release)
    return find_renderer().render(CHART, PARTS[case], release=release)


def objects_of(case: str) -> list[dict[str, Any]]:
    """All objects of a part or an example, with those in the files beside it."""
    beside = EXAMPLES[case].beside if case in EXAMPLES else []
    return [*rendered_case(case).objects, *beside]
