"""The mapping without a catalogue, for shops that use ECTicket's item numbers as their skus.

A serial-number line names no product at ECTicket; it is issued under the line's own name and unit price.
"""

from __future__ import annotations

from adapter.errors import InvalidOrder, UnmappedItem
from adapter.extensions.hookspecs import hookimpl
from adapter.issuance.order import Line, Order, TicketItem, issue_type_of
from adapter.protocol.issue import IssueType
from adapter.protocol.rules import ITEM_NO


class SkuIsItemNo:
    """The built-in plugin that is loaded if no catalogue is configured."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        """Return one item, with as many tickets as the line's quantity.

        Raises UnmappedItem for a sku that cannot be an item number, InvalidOrder without issue type, name or price.
        """
        issue_type = issue_type_of(order, line)
        serial = issue_type is IssueType.SERIAL_NUMBER
        if serial:
            _check_serial_number(line)
        elif not ITEM_NO.fits(line.sku):
            raise UnmappedItem(
                f"Sku '{line.sku}' is no item number of ECTicket (up to 8 letters and digits). "
                "Set submit.catalogue to say which item it stands for, or write a map_item hook."
            )
        return [
            TicketItem(
                item_no=None if serial else line.sku,
                name=line.name,
                price=line.unit_price,
                quantity=line.quantity,
                issue_type=issue_type,
                voucher=line.voucher,
                start_date=line.start_date,
                expire_date=line.expire_date,
            )
        ]


def _check_serial_number(line: Line) -> None:
    missing = [field for field, value in (("name", line.name), ("unit_price", line.unit_price)) if value is None]
    if missing:
        raise InvalidOrder(
            f"Sku '{line.sku}' is a serial number without {' and '.join(missing)}, with which it would be issued. "
            "Send both with the line, or set submit.catalogue."
        )
