"""The next step for each reason of a dead letter, in short; docs/operations/dead-letters.md has all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NEXT_STEPS: Final[Mapping[str, str]] = {
    "unreadable": "Correct the producer, or write a parse_order hook, then replay.",
    "unknown-merchant": "Add the merchant's keys, then replay. Or the order is of another shop or environment.",
    "unmapped-item": "Add the sku to the catalogue or to a plugin, then replay. The message names the sku.",
    "invalid-order": "The message names field and rule. Correct mapping or shop; replay, or publish it again.",
    "does-not-fit": "Split the order in the shop, or let submit.derive_trade_no give the parts numbers, then replay.",
    "trade-no-missing": "Let the shop publish the order with its trade_no, or allow derived numbers, then replay.",
    "plugin-error": "The message names plugin and hook. Correct and release the plugin, then replay.",
    "refused-envelope": "Compare the order with one that passed, report it to ECPay with its TransCode, then replay.",
    "gave-up": "It was never sent. Check that the customer was not refunded meanwhile, then replay.",
    "unresolved": "Tickets may exist. Query the number: if ECTicket knows it, replay; if not, ask ECPay, then resolve.",
    "too-large": "Raise max.message.bytes of the topic, or let the shop send less, then replay.",
    "sink-failed": "The order is not affected. Correct the receiver, then replay to that sink.",
    "internal-error": "Tickets may exist. Keep log line and version, report the defect, and replay after the fix.",
}
UNKNOWN_REASON: Final = "This version does not know the reason. Read the message with dead-letters show."
