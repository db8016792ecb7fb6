"""Records of the adapter without a valid signature: they claim nothing, publish no result and are parked.

A confirmation holds everything that its result publishes, and only its signature shows that an adapter wrote it
(decision 38). A key that is not known yet may still come: during a roll-out another process has it already. So such a
record is verified again for a while before it is parked.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.flows.messages.dead_letters import DeadLetterCause
from adapter.flows.messages.events import Stage
from adapter.flows.messages.record_history import PLAN, TOPIC
from adapter.flows.messages.signatures import RecordSigner, Trust, Verified
from adapter.stream.records import Record

KEY_MAY_COME_WITHIN = timedelta(minutes=10)
"""Longer than a mounted file takes to change in every pod, and than most roll-outs."""
VERIFY_AGAIN_AFTER = timedelta(seconds=15)


class UnverifiedRecord(Struct, frozen=True):
    """A record that this process has read at `since`."""

    trust: Trust
    since: datetime

    def verify_again_at(self, now: datetime) -> datetime | None:
        """When its signature may be valid; None if it is parked now."""
        last = self.since + KEY_MAY_COME_WITHIN
        if self.trust is not Trust.UNKNOWN_KEY or now >= last:
            return None
        return min(now + VERIFY_AGAIN_AFTER, last)


def verified_as_own(
    signer: RecordSigner, record: Record, merchant_id: str | None, *, origins: Collection[str]
) -> Verified:
    """Whether an adapter wrote this record about an issuance of the merchant; no headers at all are no proof.

    A signature shows that an adapter wrote a record, but not as what: a deferred order and the dead letter of an order
    hold a shop's bytes, which may look like a confirmation. So a record that names where it came from must have come
    from one of the topics `origins`, and holds no plan. Without a merchant, because the record cannot be read, any
    accepted key counts.
    """
    verified = signer.verify(record)
    if merchant_id is not None:
        verified = verified.of_merchant(merchant_id)
    if verified.trust is Trust.NOTHING_TO_SIGN:
        return Verified(trust=Trust.UNSIGNED)
    if verified.valid and not _came_from(record, origins):
        return Verified(trust=Trust.INVALID, key=verified.key)
    return verified


def _came_from(record: Record, origins: Collection[str]) -> bool:
    encoded = {origin.encode() for origin in origins}
    return all(name != PLAN and (name != TOPIC or value in encoded) for name, value in record.headers)


def unverified_cause(trust: Trust, stage: Stage) -> DeadLetterCause:
    """Why the record is parked, and what to do."""
    message = (
        f"This record of the adapter has no valid signature ({trust.value}), so nothing of it is believed: another "
        "program wrote it, or a key that is not set here signed it. If events show its number as submitted for its "
        "order, tickets may exist: compare them, then run `ecticket-adapter dead-letters replay` with --unsigned. "
        "Otherwise find the program, and remove its right to write to the topic."
    )
    return DeadLetterCause(reason="unresolved", stage=stage, message=message)
