"""A signature stands for key, value and every `ecticket-*` header of a record, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.flows.messages.signatures import (
    ACCEPT_OLD_SECONDS,
    PREFIX,
    REFRESH_SECONDS,
    SETTLE_SECONDS,
    SIGNATURE,
    KeyRing,
    RecordSigner,
    SigningKey,
    Trust,
    signing_key,
)
from adapter.protocol.credentials import Credentials, Merchant
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.fakes import FakeMerchants
from adapter.values import replace

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SIGNER = RecordSigner(KeyRing(FakeMerchants("3085676")))
OWN_KEY = "k" * 40
OTHER_KEY = "n" * 40

HEADER_NAMES = st.sampled_from(["a", "ab", "plan", "not-before", "\ud800", "\udcff"]).map(lambda name: PREFIX + name)
BYTES = st.binary(max_size=20)
OWN_HEADERS = st.lists(st.tuples(HEADER_NAMES, BYTES), min_size=1, max_size=4).map(tuple)


def _record(producer_record: ProducerRecord, **changed: object) -> Record:
    content = {
        "key": producer_record.key,
        "value": producer_record.value,
        "headers": producer_record.headers,
        **changed,
    }
    return Record(topic="t", partition=0, offset=1, timestamp=NOW, **content)  # type: ignore[arg-type]


def _signed(
    *headers: tuple[str, bytes], key: bytes | None = b"k", value: bytes | None = b"v", signer: RecordSigner = SIGNER
) -> ProducerRecord:
    return signer.sign(ProducerRecord(topic="t", key=key, value=value, headers=headers), "3085676")


PLAN = _signed((PREFIX + "plan", b"{}"), (PREFIX + "attempts", b"3"), ("x-shop", b"1"))


# --- what is covered --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(key=st.none() | BYTES, value=st.none() | BYTES, headers=OWN_HEADERS)
def test_what_was_signed_is_valid(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    """Whatever key, value and headers are, empty and missing ones and repeated names included."""
    assert SIGNER.verify(_record(_signed(*headers, key=key, value=value))).valid


@settings(deadline=None)
@given(
    first=st.tuples(st.none() | BYTES, st.none() | BYTES, OWN_HEADERS),
    second=st.tuples(st.none() | BYTES, st.none() | BYTES, OWN_HEADERS),
)
def test_two_records_have_two_signatures(
    first: tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]],
    second: tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]],
) -> None:
    """No part can be moved into its neighbour: lengths are signed too. Only the order of headers does not count."""
    same = first[:2] == second[:2] and sorted(first[2]) == sorted(second[2])
    signatures = [
        dict(_signed(*headers, key=key, value=value).headers)[SIGNATURE] for key, value, headers in (first, second)
    ]

    assert (signatures[0] == signatures[1]) == same


@pytest.mark.parametrize(
    "changed",
    [
        {"key": None},
        {"key": b""},
        {"value": None},
        {"value": b""},
        {"value": b"v "},
        {"headers": PLAN.headers[1:]},
        {"headers": (*PLAN.headers, (PREFIX + "not-before", b"x"))},
        {"headers": (*PLAN.headers, (PREFIX + "plan", b"{}"))},
        {"headers": ((PREFIX + "plan", b"{ }"), *PLAN.headers[1:])},
        {"headers": ((PREFIX + "plan", None), *PLAN.headers[1:])},
        {"headers": ((PREFIX + "attempts", b"{}"), (PREFIX + "plan", b"3"), *PLAN.headers[2:])},
    ],
)
def test_a_change_is_noticed(changed: dict[str, object]) -> None:
    """Key, value and `ecticket-*` headers: changed, removed, added, repeated or exchanged."""
    assert SIGNER.verify(_record(PLAN, **changed)).trust is Trust.INVALID


@pytest.mark.parametrize(
    "headers",
    [
        tuple(reversed(PLAN.headers)),
        tuple(header for header in PLAN.headers if header[0] != "x-shop"),
        (*PLAN.headers, ("__connect.errors.topic", b"x"), ("kafka_dlt-original-topic", b"y"), ("kcat", None)),
        ((("X-Shop", b"2")), *PLAN.headers),
    ],
)
def test_headers_of_others_do_not_matter(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    """Tools that copy records add headers of their own, leave out those of others, and keep no order."""
    assert SIGNER.verify(_record(PLAN, headers=headers)).valid


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"v1",
        b"v1.",
        b"v1..",
        b"v2" + (dict(PLAN.headers)[SIGNATURE] or b"")[2:],
        b"\xff\xfe.\xff.\xff",
        b"." * 5000,
        None,
    ],
)
def test_a_signature_of_another_form_is_none(signature: bytes | None) -> None:
    """Never an exception, and never believed."""
    headers = (*PLAN.headers[:-1], (SIGNATURE, signature))

    assert not SIGNER.verify(_record(PLAN, headers=headers)).valid


def test_two_signatures_are_none() -> None:
    """No reader has to say which of them counts."""
    assert not SIGNER.verify(_record(PLAN, headers=(*PLAN.headers, PLAN.headers[-1]))).valid


def test_a_truncated_signature_is_invalid() -> None:
    """Every prefix of the right one."""
    name, signature = PLAN.headers[-1]
    right = signature or b""
    for length in range(len(right)):
        assert not SIGNER.verify(_record(PLAN, headers=(*PLAN.headers[:-1], (name, right[:length])))).valid


def test_a_signature_is_not_moved_to_another_record() -> None:
    """Two deferred orders cannot exchange their plans."""
    other = _signed((PREFIX + "plan", b"{}"), (PREFIX + "attempts", b"3"), key=b"other")

    assert SIGNER.verify(_record(other, headers=PLAN.headers)).trust is Trust.INVALID


def test_an_order_of_a_shop_has_nothing_to_sign() -> None:
    """It is no unsigned record, so it raises no alarm."""
    assert SIGNER.verify(_record(PLAN, headers=(("x-shop", b"1"),))).trust is Trust.NOTHING_TO_SIGN


def test_headers_without_a_signature_are_unsigned() -> None:
    """They are counted."""
    assert SIGNER.verify(_record(PLAN, headers=PLAN.headers[:-1])).trust is Trust.UNSIGNED


def test_signing_again_replaces_the_signature() -> None:
    """There is one, and it covers what the record is now."""
    again = SIGNER.sign(replace(PLAN, value=b"other"), "3085676")

    assert [name for name, _ in again.headers].count(SIGNATURE) == 1
    assert SIGNER.verify(_record(again)).valid


def test_no_key_is_shown() -> None:
    """tests/test_hidden_keys.py looks for what is derived from it."""
    key = signing_key(OWN_KEY)

    assert not [text for text in (repr(key), str(key), repr(key.keyed)) if OWN_KEY in text]


def test_keys_of_different_uses_differ() -> None:
    """The same text signs differently as the adapter's own key and as a merchant's, and for each merchant."""
    keys = {signing_key(OWN_KEY, merchant_id=merchant_id).keyed.digest() for merchant_id in (None, "", "1", "2")}

    assert len(keys) == 4


def test_another_merchants_keys_do_not_sign_a_plan() -> None:
    """A shop knows its own keys and not those of the other shops that the process serves."""
    verified = SIGNER.verify(_record(PLAN))

    assert verified.of_merchant("3085676").valid
    assert verified.of_merchant("2000132").trust is Trust.OTHER_MERCHANT


# --- which key signs --------------------------------------------------------------------------------------------------


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Keys:
    """A process: its merchants, its own keys and its clock."""

    def __init__(self, *own: str, merchants: tuple[str, ...] = ("1",), clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.own = own
        self.merchants = FakeMerchants(*merchants)
        self.ring = KeyRing(self.merchants, own=lambda: self.own, monotonic=self.clock)

    def signs_with(self, merchant_id: str | None = None) -> SigningKey:
        key = self.ring.signing(merchant_id)
        assert key is not None
        return key

    def accepts(self, key: SigningKey) -> bool:
        return self.ring.accepted(key.key_id) is not None

    def passes(self, seconds: float) -> None:
        """Time passes, and records come all the while."""
        self.ring.signing(None)
        while seconds > 0:
            self.clock.seconds += min(seconds, 60.0)
            seconds -= 60.0
            self.ring.signing(None)

    def rotate(self, merchant_id: str, dead_letter: str) -> None:
        """The merchant's keys are replaced in the settings."""
        credentials = Credentials(hash_key=dead_letter * 16, hash_iv=dead_letter * 16)
        self.merchants.add(Merchant(merchant_id=merchant_id, credentials=credentials))


def test_own_keys_sign_for_every_merchant_and_the_first_signs() -> None:
    """All are accepted, those of the merchants too: a deployment may begin to use one at any time."""
    keys = Keys(OWN_KEY, OTHER_KEY, merchants=("1", "2"))

    assert keys.signs_with("1") == keys.signs_with("2") == keys.signs_with() == signing_key(OWN_KEY)
    assert keys.accepts(signing_key(OTHER_KEY))
    assert keys.accepts(Keys(merchants=("1",)).signs_with("1"))


def test_each_merchants_keys_sign_its_own_records() -> None:
    """Of an unknown merchant's record the first merchant's, so that it is signed at all."""
    keys = Keys(merchants=("2", "1"))

    assert keys.signs_with("2").merchant_id == "2"
    assert keys.signs_with("9").merchant_id == keys.signs_with().merchant_id == "1"


def test_a_replaced_key_signs_until_all_processes_know_the_new_one() -> None:
    """Processes read changed files at different times. Both keys are accepted from the first moment on."""
    early, late = Keys(), Keys()
    old = early.signs_with("1")
    assert late.signs_with("1") == old
    early.rotate("1", "b")
    early.passes(2 * REFRESH_SECONDS)

    assert early.signs_with("1") == old
    assert late.accepts(early.signs_with("1"))

    late.rotate("1", "b")
    early.passes(SETTLE_SECONDS)
    late.passes(2 * REFRESH_SECONDS)

    assert early.signs_with("1") != old
    assert late.accepts(early.signs_with("1"))
    assert early.accepts(old)
    assert late.accepts(old)


def test_an_old_key_is_accepted_for_a_while_only() -> None:
    """`keys.accept_old_seconds`."""
    keys = Keys()
    old = keys.signs_with("1")
    keys.rotate("1", "b")
    keys.passes(ACCEPT_OLD_SECONDS - 60)
    assert keys.accepts(old)

    keys.passes(120)

    assert not keys.accepts(old)


def test_a_key_that_still_signs_is_not_forgotten_however_short_old_keys_are_kept() -> None:
    """Its successor signs after `SETTLE_SECONDS` only; until then no other merchant's key may take its place."""
    keys = Keys(merchants=("1", "2"))
    keys.ring = KeyRing(keys.merchants, own=lambda: (), accept_old_seconds=0.0, monotonic=keys.clock)
    old = keys.signs_with("1")
    keys.rotate("1", "b")
    signing = []
    for _ in range(5):
        keys.clock.seconds += 1.0
        signing.append(keys.signs_with("1"))

    assert signing == [old] * 5
    assert keys.accepts(old)


def test_a_restart_forgets_old_keys_of_merchants_and_no_own_key() -> None:
    """Keys are kept nowhere. So an own key is replaced in three steps, and nothing is lost in any order of restarts."""
    merchants = Keys()
    old = merchants.signs_with("1")
    restarted = Keys()
    restarted.rotate("1", "b")
    assert not restarted.accepts(old)

    before, both, promoted = Keys(OWN_KEY), Keys(OWN_KEY, OTHER_KEY), Keys(OTHER_KEY, OWN_KEY)

    assert before.accepts(both.signs_with())
    assert both.accepts(before.signs_with())
    assert both.accepts(promoted.signs_with())
    assert promoted.accepts(both.signs_with())


def test_an_own_key_that_is_promoted_signs_at_once() -> None:
    """It was accepted everywhere before."""
    keys = Keys(OWN_KEY, OTHER_KEY)
    keys.passes(SETTLE_SECONDS)

    keys.own = (OTHER_KEY, OWN_KEY)
    keys.passes(2 * REFRESH_SECONDS)

    assert keys.signs_with() == signing_key(OTHER_KEY)


def test_a_first_own_key_that_appears_while_running_signs_after_a_while() -> None:
    """Until then the merchants' keys go on signing, which every process accepts."""
    keys = Keys()
    derived = keys.signs_with("1")
    keys.own = (OWN_KEY,)
    keys.passes(2 * REFRESH_SECONDS)
    assert keys.signs_with("1") == derived

    keys.passes(SETTLE_SECONDS)

    assert keys.signs_with("1") == signing_key(OWN_KEY)


def test_an_own_key_that_is_removed_signs_no_more_and_is_still_accepted() -> None:
    """The merchants' keys sign instead."""
    keys = Keys(OWN_KEY)
    assert keys.signs_with() == signing_key(OWN_KEY)
    keys.own = ()
    keys.passes(2 * REFRESH_SECONDS)

    assert keys.signs_with("1").merchant_id == "1"
    assert keys.accepts(signing_key(OWN_KEY))


def test_a_merchant_that_is_added_or_removed_changes_nothing_for_others() -> None:
    """Nor are the records of the removed one worthless at once."""
    keys = Keys(merchants=("1", "2"))
    first, second = keys.signs_with("1"), keys.signs_with("2")
    keys.merchants.remove("2")
    keys.rotate("3", "c")
    keys.passes(2 * REFRESH_SECONDS)

    assert keys.signs_with("1") == first
    assert keys.signs_with("3").merchant_id == "3"
    assert keys.accepts(second)
    assert keys.signs_with("2") == second


def test_a_new_merchants_records_are_signed_with_its_own_keys_at_once() -> None:
    """Not with those of another merchant until the settings are looked at again: nothing would believe them."""
    keys = Keys(merchants=("1",))
    keys.signs_with("1")
    keys.rotate("2", "c")

    assert keys.signs_with("2").merchant_id == "2"
    assert keys.signs_with("9").merchant_id == "1"


def test_without_any_key_nothing_is_signed() -> None:
    """Nor believed: what comes is treated as unsigned."""
    signer = RecordSigner(KeyRing(FakeMerchants()))

    assert signer.sign(PLAN).headers == PLAN.headers[:-1]
    assert signer.verify(_record(PLAN)).trust is Trust.UNKNOWN_KEY
