"""The demo's day after issuing: tickets are used, serial numbers collected, and the events compared with the report.

Differences are planted as they arise: another program issues an order, and ECPay's report disagrees about three others.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from adapter.dev.demo.day_check import DayCheck
from adapter.dev.demo.environment import MERCHANT_ID, SANDBOX, Environment, must_run
from adapter.dev.demo.orders import SampleOrder
from adapter.dev.demo.sandbox_client import SandboxClient
from adapter.flows.messages.events import OrderRefunded, TicketStatusChanged

REDEEMED: Final = 10
"""At most so many orders have a ticket redeemed."""
REFUNDED: Final = 5
"""At most so many orders have a ticket refunded."""
WAIT_SECONDS: Final = 60.0
"""Longest wait for the events of one step."""

FOREIGN_TRADE_NO: Final = "OTHERSHOP00001"
"""The number under which another program issues."""
_REPORT_CHANGES: Final = {"not-reported": "without_orders", "state": "failed_orders", "ticket-count": "short_orders"}
"""Kinds of difference, and the sandbox's option that makes a report disagree in this way."""


class Day:
    """The steps; each waits until its events are published. What does not come is a disagreement of `check`."""

    def __init__(
        self,
        environment: Environment,
        sandbox: SandboxClient,
        issued: Sequence[tuple[SampleOrder, str]],
        check: DayCheck,
    ) -> None:
        """`issued`: each sample order with each of its issued trade numbers."""
        self._environment = environment
        self._sandbox = sandbox
        self._issued = issued
        self._check = check

    async def use_tickets(self) -> None:
        """Redeem a ticket of some orders, and refund one of others."""
        for number in self._numbers("electronic")[:REDEEMED]:
            await self._sandbox.use("redeem", number, min(await self._sandbox.ticket_nos(number)))
            self._check.notifications[number, TicketStatusChanged.TYPE] += 1
        for number in self._numbers("convenience store")[:REFUNDED]:
            await self._sandbox.use("refund", number, min(await self._sandbox.ticket_nos(number)))
            self._check.notifications[number, TicketStatusChanged.TYPE] += 1
            self._check.notifications[number, OrderRefunded.TYPE] += 1
        await self._until(lambda: self._check.all_notified)

    async def collect(self) -> None:
        """Wait until the tickets of all serial numbers are published."""
        for order in await self._sandbox.orders():
            if order["issue_type"] == "serial_number" and order["status"] == "issued":
                number = order["trade_no"]
                self._check.tickets[number] = await self._sandbox.ticket_nos(number)
        await self._until(lambda: self._check.all_collected)

    async def reconcile(self) -> None:
        """Plant a difference of each kind, as far as there are orders for it, and run the command."""
        await self._sandbox.issue(_foreign_order(self._environment.settings.submit.operator or ""))
        self._check.differences[FOREIGN_TRADE_NO] = "not-published"
        changes = {}
        for (kind, option), number in zip(
            _REPORT_CHANGES.items(), self._numbers("paper", "gift vouchers", "electronic, pre-sale"), strict=False
        ):
            changes[option] = [number]
            self._check.differences[number] = kind
        await self._sandbox.arm([{"fault": "odd_report", "additional_columns": 0, **changes}])
        # The stage collect has just downloaded the last report, and ECTicket gives one in this time.
        await asyncio.sleep(SANDBOX.report_interval_seconds)
        await self._command("reconcile", "--publish", exit_code=1)
        await self._until(lambda: self._check.all_found)

    async def explain(self, order_id: str) -> None:
        """Run the command."""
        await self._command("explain", order_id, exit_code=0)

    async def _command(self, *arguments: str, exit_code: int) -> None:
        """Run a command of the adapter with the demo's settings, on this terminal."""
        command = (sys.executable, "-m", "adapter", *arguments)
        process = await asyncio.create_subprocess_exec(*command, env=dict(self._environment.variables))
        try:
            found = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        if found != exit_code:
            self._check.failed_commands.append(
                f"`ecticket-adapter {' '.join(arguments)}` ended with exit code {found}, expected {exit_code}"
            )

    def _numbers(self, *kinds: str) -> list[str]:
        return [number for sample, number in self._issued if sample.kind.name in kinds]

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait until `done`, or no longer than `WAIT_SECONDS` after the last news."""
        last_news, seen = time.monotonic(), self._check.noted
        while not done() and time.monotonic() - last_news < WAIT_SECONDS:
            must_run(self._environment)
            if self._check.noted != seen:
                last_news, seen = time.monotonic(), self._check.noted
            await asyncio.sleep(0.1)


def _foreign_order(operator: str) -> Mapping[str, object]:
    """The Issue request of an order that the adapter does not know."""
    return {
        "MerchantID": MERCHANT_ID,
        "MerchantTradeNo": FOREIGN_TRADE_NO,
        "IssueType": "2",
        "PrintType": "2",
        "Operator": operator,
        "TicketInfo": [{"ItemNo": "VQT04959", "TicketAmount": 1}],
    }
