"""Determines the issue type of a line, and the words for issue types in orders and catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapter.errors import InvalidOrder
from adapter.issuance.order import Line, Order
from adapter.protocol.issue import IssueType

ISSUE_TYPES: Final[Mapping[str, IssueType]] = {kind.name.lower(): kind for kind in IssueType}
"""`convenience_store`, `paper`, `electronic`, `serial_number`."""


def issue_type_of(order: Order, line: Line, *, otherwise: IssueType | None = None) -> IssueType:
    """The line's own issue type, else `otherwise`, else the order's.

    Raises InvalidOrder if none of them names one.
    """
    found = line.issue_type or otherwise or order.issue_type
    if found is None:
        raise InvalidOrder(
            f"Sku '{line.sku}' has no issue_type, and neither has the order. "
            f"Send one of {', '.join(ISSUE_TYPES)} with the line or the order, or write it into the catalogue."
        )
    return found
