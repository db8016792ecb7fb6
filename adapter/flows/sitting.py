"""One part's way through one sitting: decide, act, observe, until there is nothing more to do here and now.

The decisions are `issuance.decide`'s; this file only does what they say and tells them what came. What the lease raises
passes through: the partition may be somebody else's by then, and so may the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from adapter.errors import CallError
from adapter.flows.ports import Clock, Ecticket
from adapter.issuance.actions import Action, ControlQuery, Defer, Finish, Park, Probe, Query, Send, Wait
from adapter.issuance.answers import (
    LastAccepted,
    ProbeAnswered,
    WhatCame,
    control_answer,
    issue_answer,
    issue_error,
    query_answer,
    query_error,
)
from adapter.issuance.decide import SubmitPolicy, conclude, decide, observe
from adapter.issuance.state import PartState, Phase
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo
from adapter.provider.client import Purpose

RTN_OK = 1

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Where a part stands when its sitting is over, and the decision that ended it.

    `action` is Send only where sending was not allowed yet (`Sitting.run(may_send=False)`).
    """

    state: PartState
    action: Finish | Defer | Park | Send


class KnownNumbers:
    """For each merchant the last number that ECTicket is known to have: asking for it must bring RtnCode 1."""

    def __init__(self) -> None:
        self._last: dict[str, TradeNo] = {}

    def note(self, merchant_id: str, trade_no: TradeNo) -> None:
        """ECTicket has this number."""
        self._last[merchant_id] = trade_no

    def last(self, merchant_id: str) -> TradeNo | None:
        """A number that exists, or None when none was seen since the start."""
        return self._last.get(merchant_id)


class Sitting:
    """Works on the parts of one order, one after another.

    `subject` names the order to the breaker; `clearance` is the engine's promise that the partition is still ours.
    """

    def __init__(
        self,
        *,
        merchant: Merchant,
        subject: str,
        clearance: Callable[[], None],
        ecticket: Ecticket,
        policy: SubmitPolicy,
        known: KnownNumbers,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._merchant = merchant
        self._subject = subject
        self._clearance = clearance
        self._ecticket = ecticket
        self._policy = policy
        self._known = known
        self._now = now
        self._sleep = sleep

    async def run(self, state: PartState, *, may_send: bool = True) -> Ended:
        """Work on one part until it is settled, deferred or parked; with `may_send` False also until it would be sent.

        Raises LeaseLost: nothing was written, and the record belongs to whoever owns the partition.
        """
        while True:
            state = self._with_facts(state)
            action = decide(state, self._now(), self._policy)
            if isinstance(action, Finish | Defer | Park):
                return self._ended(state, action)
            if isinstance(action, Send) and not may_send:
                return Ended(state=state, action=action)
            if isinstance(action, Wait):
                await self._sleep(max(0.0, (action.until - self._now()).total_seconds()))
                continue
            came = await self._do(action, state)
            state = observe(state, came, self._now())

    def _ended(self, state: PartState, action: Finish | Defer | Park) -> Ended:
        if state.phase is Phase.SUBMITTED:
            self._known.note(self._merchant.merchant_id, state.part.trade_no)
        return Ended(state=conclude(state, action), action=action)

    def _with_facts(self, state: PartState) -> PartState:
        """Tell the part when this merchant last got RtnCode 1, which saves a probe where others are being served."""
        accepted = self._ecticket.last_accepted(self._merchant.merchant_id)
        return state if accepted is None else observe(state, LastAccepted(at=accepted), self._now())

    async def _do(self, action: Action, state: PartState) -> WhatCame:
        match action:
            case Send():
                return await self._send(state)
            case Query():
                return await self._query(state)
            case ControlQuery():
                return await self._control(state)
            case Probe():
                return await self._probe(state)
        raise TypeError(f"{type(action).__name__} is nothing that can be done")

    async def _send(self, state: PartState) -> WhatCame:
        try:
            reply = await self._ecticket.issue(
                self._merchant, state.part.request, subject=self._subject, clearance=self._clearance
            )
        except CallError as error:
            return issue_error(error)
        return issue_answer(reply, retry_rtn_codes=self._policy.retry_rtn_codes)

    async def _query(self, state: PartState) -> WhatCame:
        asked_at = self._now()
        try:
            reply = await self._ecticket.query(self._merchant, state.part.trade_no, purpose=Purpose.DOUBT)
        except CallError as error:
            return query_error(error)
        return query_answer(reply, asked_at=asked_at)

    async def _control(self, state: PartState) -> WhatCame:
        asked_at = self._now()
        try:
            reply = await self._ecticket.control(self._merchant, state.part.trade_no.kind, purpose=Purpose.DOUBT)
        except CallError as error:
            return query_error(error)
        return control_answer(reply, asked_at=asked_at)

    async def _probe(self, state: PartState) -> WhatCame:
        """Ask for something that must exist: a number known at ECTicket, else one of the order's own products."""
        known = self._known.last(self._merchant.merchant_id)
        items = [item.item_no for item in state.part.items if item.item_no is not None]
        try:
            if known is not None:
                code = (await self._ecticket.query(self._merchant, known, purpose=Purpose.DOUBT)).rtn_code
            elif items:
                code = (await self._ecticket.item(self._merchant, items[0], purpose=Purpose.DOUBT)).rtn_code
            else:
                return ProbeAnswered(ok=False)
        except CallError as error:
            return query_error(error)
        return ProbeAnswered(ok=code == RTN_OK)
