"""Resolves an issuance that lies in open dead letters, after ECTicket was queried about it.

`resolve` holds the rules: what ECTicket's answer forbids, and what is published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from adapter.errors import CallError
from adapter.flows.messages.signatures import RecordSigner, Trust
from adapter.flows.number_history import KnownNumbers, NumberHistory, NumberOwners
from adapter.flows.ports import Ecticket, Merchants, Topics
from adapter.operations.dead_letter_store import DeadLetters, DeadLetterStore
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.number_lookup import lacks_known_numbers
from adapter.operations.ports import read_counted
from adapter.operations.resolve import (
    EcticketAnswer,
    PendingIssuance,
    Resolution,
    Resolved,
    find_pending,
    objection,
    query_status,
    resolve,
)
from adapter.protocol.credentials import Merchant
from adapter.stream.stage import Outcome


class AmbiguousNumber(ValueError):
    """The trade number is that of several merchants or orders; the message names them."""


class NotResolved(Exception):
    """Nothing was published; the message says why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveRequest:
    """What a person has found out about an issuance."""

    trade_no: str
    resolution: Resolution
    why: str
    merchant_id: str | None
    order_id: str | None
    against_ecticket: bool
    """Publish even what ECTicket's answer contradicts."""
    unsigned: bool
    """Resolve also a dead letter without a valid signature."""
    dry_run: bool


class ResolveObserver(Protocol):
    """Receives what a person should see, as it happens."""

    def note(self, sentence: str) -> None: ...

    def resolved(self, dead_letter: DeadLetter, pending: PendingIssuance, resolved: Resolved) -> None:
        """Called in a dry run too."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveOperation:
    """Resolves issuances of a store of dead letters."""

    store: DeadLetterStore
    topics: Topics
    merchants: Merchants
    make_signer: Callable[[], RecordSigner]
    pick_merchant: Callable[[str], Merchant]
    """The merchant of this id, with its keys."""
    open_ecticket: Callable[[], AbstractAsyncContextManager[Ecticket]]
    settles_after: timedelta
    """How long after an Issue call its effect may still come (`submit.reissue_after_seconds`)."""
    observer: ResolveObserver

    async def run(self, request: ResolveRequest) -> None:
        """Query ECTicket, then publish the resolution.

        Raises AmbiguousNumber, and NotResolved: no open dead letter holds the number, ECTicket's answer contradicts the
        request, or another command has handled the dead letter.
        """
        async with self.store.open() as dead_letters:
            found = await self._find_pending(dead_letters, request)
            if not found:
                raise NotResolved(
                    f"No open dead letter holds the number {request.trade_no}. "
                    "See: ecticket-adapter dead-letters list, or list --all for handled ones."
                )
            history = await self._history(found[0][1])
            answer = await self._query_status(found[0][1], history.known)
            self._check(request, [each for _, each in found], answer, history.owners)
            self.observer.note(answer.description)
            await self._publish(dead_letters, request, found)

    async def _find_pending(
        self, dead_letters: DeadLetters, request: ResolveRequest
    ) -> list[tuple[DeadLetter, PendingIssuance]]:
        """The open dead letters that hold the number, the oldest first."""
        names = {
            dead_letter.name
            for dead_letter in dead_letters.all
            if dead_letter.name in dead_letters.open and request.trade_no in dead_letter.trade_nos
        }
        records = await self.store.collect(
            lambda record, dead_letter: (record, dead_letter) if dead_letter.name in names else None
        )
        read = ((dead_letter, find_pending(record, request.trade_no)) for record, dead_letter in records)
        found = [
            (dead_letter, each)
            for dead_letter, each in read
            if each is not None
            and request.merchant_id in (None, each.merchant_id)
            and request.order_id in (None, each.order_id)
        ]
        merchants = sorted({each.merchant_id for _, each in found})
        if len(merchants) > 1:
            raise AmbiguousNumber(f"Several merchants have that number; select one with --merchant: {merchants}.")
        orders = sorted({each.order_id for _, each in found})
        if len(orders) > 1:
            raise AmbiguousNumber(f"Several orders have that number; select one with --order: {', '.join(orders)}.")
        return sorted(found, key=lambda pair: (pair[0].timestamp, pair[0].name))

    async def _history(self, pending: PendingIssuance) -> NumberHistory:
        """Which order owns the number, and which numbers of its merchant should exist, by the issuances topic."""
        history, merchant = NumberHistory(merchants=self.merchants), self.merchants.find(pending.merchant_id)
        key = f"{pending.merchant_id}/{pending.trade_no.value}".upper()
        store = self.store
        events = read_counted(store.reader, [self.topics.issuances], counting=store.counting, what="events")
        async with aclosing(events) as records:
            async for record in records:
                about = (record.key or b"").decode("utf-8", "replace").upper() == key
                lacks = merchant is not None and lacks_known_numbers(history.known, merchant, pending.trade_no.kind)
                if about or lacks:
                    history.take(record)
        return history

    async def _query_status(self, pending: PendingIssuance, known: KnownNumbers) -> EcticketAnswer:
        """ECTicket's answer about the number; an answer that proves nothing if ECTicket cannot be queried."""
        merchant = self.pick_merchant(pending.merchant_id)
        async with self.open_ecticket() as ecticket:
            try:
                return await query_status(ecticket, merchant, pending.trade_no, known)
            except CallError as error:
                return EcticketAnswer(description=f"ECTicket could not be queried: {error}")

    def _check(
        self,
        request: ResolveRequest,
        found: Sequence[PendingIssuance],
        answer: EcticketAnswer,
        owners: NumberOwners,
    ) -> None:
        """Raises NotResolved if ECTicket's answer forbids the resolution."""
        if request.against_ecticket:
            return
        now = datetime.now(UTC)
        for each in found:
            other = owners.other_order(each.merchant_id, each.trade_no.value, each.order_id)
            why = objection(
                request.resolution, each, answer, now=now, settles_after=self.settles_after, other_order=other
            )
            if why is not None:
                raise NotResolved(
                    f"Nothing was published. {why} To let the adapter query again, run: ecticket-adapter dead-letters "
                    f"replay {request.trade_no}. If you are certain, add --against-ecticket."
                )

    async def _publish(
        self,
        dead_letters: DeadLetters,
        request: ResolveRequest,
        found: Sequence[tuple[DeadLetter, PendingIssuance]],
    ) -> None:
        """Acknowledge each dead letter in one transaction with its events; several publish them under the same ids."""
        signer = self.make_signer()
        for dead_letter, pending in found:
            trust = signer.verify(pending.dead_letter).of_merchant(pending.merchant_id).trust
            if trust is not Trust.VALID and not request.unsigned:
                raise NotResolved(
                    f"The signature of {dead_letter.name} is not valid ({trust}), so another program may have written "
                    "it. Compare it with the order and its events, then add --unsigned."
                )
        for dead_letter, pending in found:
            resolved = resolve(
                pending, request.resolution, request.why, topics=self.topics, now=datetime.now(UTC), signer=signer
            )
            if not request.dry_run:
                async with dead_letters.claim(dead_letter.partition) as claim:
                    if not claim.is_open(dead_letter.offset):
                        raise NotResolved(
                            f"Another command has handled {dead_letter.name} in the meantime; nothing was published."
                        )
                    await claim.acknowledge({dead_letter.offset: Outcome(records=resolved.producer_records)})
            self.observer.resolved(dead_letter, pending, resolved)
