"""No input, however broken, raises anything but the documented errors.

Garbage of four kinds: bytes, JSON, envelopes with garbage in their fields, and well-sealed envelopes around garbage.
All of it goes through everything that ever reads what ECTicket sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.errors import EnvelopeError, UnreadableReply
from adapter.protocol.encoding import Encoder
from adapter.protocol.envelope import open_request, open_response, seal_request, seal_response
from adapter.protocol.fields import Payload
from adapter.protocol.issue import IssueReply, TradeNo
from adapter.protocol.order_detail import ORDER_COLUMNS, TICKET_COLUMNS, order_rows, ticket_rows
from adapter.protocol.query_issue_result import ResultReply
from adapter.protocol.query_item_info import ItemReply
from adapter.protocol.report_csv import starts_like_json

from .samples import (
    ENVELOPE_FIELDS,
    MERCHANT,
    NOW,
    PLATFORM_MERCHANT,
    json_values,
    payloads,
    raised_by,
    sent_by,
    wire_payloads,
)

thorough = settings(max_examples=examples(80), deadline=None)

READERS: tuple[Callable[[Payload], object], ...] = (
    IssueReply.from_payload,
    ResultReply.from_payload,
    ItemReply.from_payload,
    TradeNo.from_payload,
)

json_like = st.text('[]{}":,\\u0123456789.eE+-tfn alrsDaTCk', max_size=60)
broken_envelopes = st.dictionaries(
    st.sampled_from(ENVELOPE_FIELDS), json_values | st.sampled_from([1, "1", "", {"Timestamp": NOW}]), max_size=9
)


def _only_documented(error: Exception | None) -> None:
    """Pass what is documented, and show everything else as it happened."""
    if error is not None and not isinstance(error, EnvelopeError):
        raise error


def _open_both_ways(body: bytes) -> None:
    """Open as answer and as request."""
    _only_documented(raised_by(lambda: open_response(body, PLATFORM_MERCHANT)))
    _only_documented(raised_by(lambda: open_request(body, lambda merchant_id, platform_id: MERCHANT)))


@thorough
@given(st.binary() | json_like.map(str.encode) | st.binary().map(lambda data: b"\xef\xbb\xbf{" + data))
def test_any_bytes_are_opened_or_refused(body: bytes) -> None:
    """Noise, near-JSON, and noise behind a brace."""
    _open_both_ways(body)


@thorough
@given(broken_envelopes)
def test_any_json_in_the_envelopes_fields_is_opened_or_refused(envelope: dict[str, object]) -> None:
    """The right names with the wrong things in them."""
    _open_both_ways(json.dumps(envelope).encode())


@thorough
@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 80))
def test_any_damage_to_an_answer_is_opened_or_refused(noise: bytes, place: int, length: int) -> None:
    """Cut out, overwritten, inserted, cut off."""
    whole = seal_response({"RtnCode": 1}, MERCHANT, timestamp=NOW)

    _open_both_ways(whole[:place] + noise + whole[place + length :])
    _open_both_ways(whole[:place])


@thorough
@given(st.text() | json_like)
def test_any_sealed_text_is_opened_or_refused(text: str) -> None:
    """Signed by the right keys, so the payload's JSON is the last thing that could break."""
    data, checksum = sent_by(Encoder.ESCAPE_DATA_STRING, text.encode(errors="replace").decode())
    envelope = {"MerchantID": "3085676", "RqHeader": {"Timestamp": NOW}, "TransCode": 1}

    _open_both_ways(json.dumps(envelope | {"Data": data, "CheckMacValue": checksum}).encode())


@thorough
@given(wire_payloads | payloads)
def test_any_payload_is_read_or_unreadable(payload: dict[str, object]) -> None:
    """Every reply of every endpoint, with the protocol's own names and anything in them."""
    for read in READERS:
        error = raised_by(lambda read=read: read(payload))  # type: ignore[misc]  # bound early on purpose
        if error is not None and not isinstance(error, UnreadableReply):
            raise error


@thorough
@given(wire_payloads)
def test_any_sealed_payload_is_read_or_unreadable(payload: dict[str, object]) -> None:
    """The same through the envelope, where numbers and texts come as JSON brings them."""
    opened = open_response(seal_response(payload, MERCHANT, timestamp=NOW), MERCHANT)

    assert opened.payload is not None
    for read in READERS:
        error = raised_by(lambda read=read: read(opened.payload))  # type: ignore[misc]  # bound early on purpose
        _only_documented(error)


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '="091"', "2024/03/01 10:20:30", "2024/03/01", "12", "1,200", "發行成功", "9999/99/99", "x" * 200_000]
)
headers = st.lists(st.sampled_from(ORDER_COLUMNS + TICKET_COLUMNS) | cells, max_size=6)


@settings(max_examples=examples(60), deadline=None)
@given(headers, st.lists(st.lists(cells, max_size=6), max_size=3), st.sampled_from(["utf-8", "utf-8-sig", "cp950"]))
def test_any_table_is_read_or_unreadable(header: list[str], rows: list[list[str]], charset: str) -> None:
    """Real headers over random cells without quotes."""
    body = "\r\n".join(",".join(row) for row in [header, *rows]).encode(charset, errors="replace")

    for read in (order_rows, ticket_rows):
        error = raised_by(lambda read=read: tuple(read([body], merchant_id="3085676")))  # type: ignore[misc]  # bound early
        if error is not None and not isinstance(error, UnreadableReply):
            raise error


@thorough
@given(st.binary() | st.binary().map(lambda data: "特店訂單編號,票券序號,發行狀態\n".encode() + data))
def test_any_bytes_are_a_report_or_unreadable(body: bytes) -> None:
    """Noise alone, and noise below a header."""
    starts_like_json(body)
    for read in (order_rows, ticket_rows):
        error = raised_by(lambda read=read: tuple(read([body], merchant_id="3085676")))  # type: ignore[misc]  # bound early
        if error is not None and not isinstance(error, UnreadableReply):
            raise error


@pytest.mark.parametrize(
    "body",
    [
        b"{" * 1_000_000,
        b'{"Data":' * 100_000,
        b'{"TransCode":' + b"1" * 100_000 + b"}",
        b'{"TransCode":1,"RpHeader":{"Timestamp":1e400}}',
        b'{"TransCode":1,"Data":"' + b"A" * 1_000_000 + b'","CheckMacValue":"' + b"A" * 64 + b'"}',
        b'{"TransCode":1,"TransMsg":"\\ud800","Data":"\\ud800","CheckMacValue":"\\ud800"}',
        b'{"TransCode":1,"TransCode":2,"Data":"A"}',
        b"\x00" * 1000,
        "｛｝".encode(),
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_inputs_made_to_exhaust_something_are_refused(body: bytes) -> None:
    """Stack, digits, memory, code points."""
    _open_both_ways(body)
    for read in (order_rows, ticket_rows):
        with pytest.raises(UnreadableReply):
            tuple(read([body], merchant_id="3085676"))


def test_sealing_and_opening_leave_their_arguments_alone() -> None:
    """Payloads are read, and never written to."""
    payload: dict[str, object] = {"RtnCode": 1, "TicketData": [{"ItemNo": "A"}]}
    before = json.dumps(payload)

    opened = open_response(seal_response(payload, MERCHANT, timestamp=NOW), MERCHANT)
    seal_request(payload, MERCHANT, timestamp=NOW)
    assert json.dumps(payload) == before
    assert opened.payload is not payload
