"""Each fault does what it says, to a real client on a real socket."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from key_words import mentions

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.codes import ASSUMED, Reason
from adapter.errors import WrongChecksum
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.envelope import open_response, seal_request

from .conftest import Start
from .helpers import FAMILY_B, MERCHANT, Client, Clock, electronic, paper

QUERY_A1 = {"MerchantID": "3085676", "MerchantTradeNo": "A1"}
REPORT = {"MerchantID": "3085676", "ReportType": 1, "BeginDate": "20231201", "EndDate": "20231201"}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("fault", "booked"), [("answer_lost_after", 1), ("answer_lost_before", 0)])
async def test_a_lost_answer_closes_the_connection(client: Client, fault: str, booked: int, reset: bool) -> None:
    """With the effect or without it; the client gets not one byte."""
    await client.arm({"fault": fault, "count": 1, "reset": reset})

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.issue(paper())

    assert len(client.sandbox.order_store) == booked
    assert (await client.query("A1"))["RtnCode"] == (1 if booked else ASSUMED[Reason.UNKNOWN_TRADE_NO])


@pytest.mark.parametrize(("reset", "ends_with"), [(False, "end of stream"), (True, "reset")])
async def test_a_connection_ends_with_fin_or_with_rst(client: Client, reset: bool, ends_with: str) -> None:
    """Seen from the bare socket: nothing read, then the end, or a reset."""
    await client.arm({"fault": "answer_lost_after", "reset": reset})
    url = httpx.URL(client.sandbox.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    body = seal_request(paper(), MERCHANT, timestamp=int(client.clock.now.timestamp()))

    writer.write(b"POST /api/Ticket/Issue HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    try:
        received, ended = await reader.read(), "end of stream"
    except ConnectionResetError:
        received, ended = b"", "reset"
    writer.close()

    assert (received, ended) == (b"", ends_with)
    assert len(client.sandbox.order_store) == 1


async def test_a_slow_answer_comes_after_its_effect(client: Client) -> None:
    """A client that has given up finds the order booked."""
    await client.arm({"fault": "slow", "seconds": 60, "count": 1})
    body = seal_request(paper(), MERCHANT, timestamp=int(client.clock.now.timestamp()))

    with pytest.raises(httpx.ReadTimeout):
        await client.http.post(f"{client.sandbox.base_url}/api/Ticket/Issue", content=body, timeout=0.1)

    assert len(client.sandbox.order_store) == 1


async def test_a_slow_answer_is_a_good_one(client: Client) -> None:
    """A client that waits gets it."""
    await client.arm({"fault": "slow", "seconds": 0.01})

    assert (await client.issue(paper()))["RtnCode"] == 1


async def test_a_late_effect_happens_after_its_time_and_not_before(client: Client, clock: Clock) -> None:
    """The answer is lost at once; a query in between knows nothing."""
    await client.arm({"fault": "late_effect", "seconds": 30, "count": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        await client.issue(paper())
    clock.advance(29.9)
    before = await client.query("A1")
    pending = (await client.stats())["late_effects"]
    clock.advance(0.1)
    after = await client.query("A1")

    assert (before["RtnCode"], after["RtnCode"]) == (ASSUMED[Reason.UNKNOWN_TRADE_NO], 1)
    assert pending == {"done": 0, "refused": 0, "pending": 1}
    assert (await client.stats())["late_effects"] == {"done": 1, "refused": 0, "pending": 0}


async def test_a_late_effect_comes_to_nothing_when_its_number_was_used_meanwhile(client: Client, clock: Clock) -> None:
    """The rules of its own time count, uniqueness above all."""
    await client.arm({"fault": "late_effect", "seconds": 30, "count": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        await client.issue(paper())

    assert (await client.issue(paper()))["RtnCode"] == 1
    clock.advance(30)

    assert len(client.sandbox.order_store) == 1
    assert (await client.stats())["late_effects"] == {"done": 0, "refused": 1, "pending": 0}


async def test_a_late_effect_on_the_worst_server_issues_twice_and_is_counted(client: Client, clock: Clock) -> None:
    """Late effect and accept-repeats together are the accident that the adapter must prevent."""
    await client.arm({"fault": "late_effect", "seconds": 30, "count": 1}, {"fault": "accept-repeats"})
    with pytest.raises(httpx.RemoteProtocolError):
        await client.issue(paper())

    await client.issue(paper())
    clock.advance(30)

    assert [order["times_issued"] for order in await client.orders()] == [2]


async def test_accept_repeats_issues_again_and_counts(client: Client) -> None:
    """Tickets exist twice under one number, which repeats shows."""
    await client.arm({"fault": "accept_repeats"})
    first, second = await client.issue(paper()), await client.issue(paper())

    stats = await client.stats()

    assert (first["RtnCode"], second["RtnCode"]) == (1, 1)
    assert first["TicketTradeNo"] != second["TicketTradeNo"]
    assert [(order["times_issued"], order["ticket_count"]) for order in await client.orders()] == [(2, 4)]
    assert (stats["orders"], stats["tickets"]) == (1, 4)
    assert stats["repeats"] == {
        "count": 1,
        "orders": [{"merchant_id": "3085676", "trade_no": "A1", "trade_no_kind": "merchant"}],
    }


@pytest.mark.parametrize(
    ("options", "status", "retry_after", "booked"),
    [
        ({}, 500, None, 0),
        ({"status": 502, "after_effect": True}, 502, None, 1),
        ({"status": 503, "retry_after_seconds": 7}, 503, "7", 0),
        ({"status": 429, "retry_after_seconds": 0}, 429, "0", 0),
    ],
)
async def test_a_server_error_comes_with_or_without_the_effect(
    client: Client, options: dict[str, object], status: int, retry_after: str | None, booked: int
) -> None:
    """Any status, with or without Retry-After."""
    await client.arm({"fault": "server_error", **options})

    response = await client.post(Endpoint.ISSUE, paper())

    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert len(client.sandbox.order_store) == booked


@pytest.mark.parametrize(("retry_after", "expected"), [(True, ["1800", "900"]), (False, [None, None])])
async def test_a_lock_out_answers_403_until_it_is_over(
    client: Client, clock: Clock, retry_after: bool, expected: list[str | None]
) -> None:
    """For all calls of this merchant and no other's, with nothing carried out."""
    await client.arm({"fault": "lock_out", "seconds": 1800, "retry_after": retry_after, "count": 1})
    other = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=FAMILY_B)

    first = await client.post(Endpoint.ISSUE, paper())
    clock.advance(900)
    second = await client.post(Endpoint.QUERY_ISSUE_RESULT, QUERY_A1)
    others = await other.issue(paper(MerchantID="3362787"))
    clock.advance(900)
    third = await client.issue(paper())

    assert (first.status_code, second.status_code) == (403, 403)
    assert [each.headers.get("retry-after") for each in (first, second)] == expected
    assert (others["RtnCode"], third["RtnCode"]) == (1, 1)


@pytest.mark.parametrize(
    ("options", "length"), [({}, 256), ({"body": "<html>busy</html>"}, 17), ({"body": ""}, 0), ({"size": 9}, 9)]
)
async def test_garbage_is_answered_after_the_effect(client: Client, options: dict[str, object], length: int) -> None:
    """HTTP 200 with bytes that are no envelope."""
    await client.arm({"fault": "garbage", **options})

    response = await client.post(Endpoint.ISSUE, paper())

    assert response.status_code == 200
    assert len(response.content) == length
    assert "body" not in options or response.content == str(options["body"]).encode()
    assert len(client.sandbox.order_store) == 1


async def test_a_wrong_checksum_comes_on_a_readable_answer(client: Client) -> None:
    """All but the checksum is right, and the effect is there."""
    await client.arm({"fault": "wrong_checksum", "count": 1})

    response = await client.post(Endpoint.ISSUE, paper())

    with pytest.raises(WrongChecksum):
        open_response(response.content, MERCHANT)
    assert response.json()["TransCode"] == 1
    assert len(client.sandbox.order_store) == 1


async def test_a_job_that_never_finishes_stays_in_progress(client: Client, clock: Clock) -> None:
    """Paper, too."""
    await client.arm({"fault": "job_never_finishes"})
    await client.issue(electronic("A1"))
    await client.issue(paper("A2"))
    clock.advance(365 * 86_400)

    assert [(await client.query(number))["Status"] for number in ("A1", "A2")] == [3, 3]


@pytest.mark.parametrize(("options", "remark"), [({"remark": "不行"}, "不行"), ({}, "Error, please ensure")])
async def test_a_job_that_fails_gives_its_reason(
    client: Client, clock: Clock, options: dict[str, object], remark: str
) -> None:
    """Received first, then failed with the Remark."""
    await client.arm({"fault": "job_fails", **options})

    assert (await client.issue(electronic()))["RtnCode"] == 1
    before = await client.query("A1")
    clock.advance(client.sandbox.settings.job_seconds)
    after = await client.query("A1")

    assert (before["Status"], before["Remark"]) == (3, "")
    assert after["Status"] == 2
    assert str(after["Remark"]).startswith(remark)


@pytest.mark.parametrize(
    ("endpoint", "payload"),
    [
        (Endpoint.ISSUE, paper()),
        (Endpoint.QUERY_ISSUE_RESULT, QUERY_A1),
        (Endpoint.QUERY_ITEM_INFO, {"MerchantID": "3085676", "ItemNo": "VQT04959"}),
        (Endpoint.ORDER_DETAIL, REPORT),
    ],
)
@pytest.mark.parametrize(("options", "code"), [({}, ASSUMED[Reason.MAINTENANCE]), ({"rtn_code": 5}, 5)])
async def test_in_maintenance_everything_is_refused(
    client: Client, endpoint: Endpoint, payload: dict[str, object], options: dict[str, object], code: int
) -> None:
    """Well-formed refusals, nothing carried out."""
    await client.arm({"fault": "maintenance", **options})

    assert (await client.call(endpoint, payload))["RtnCode"] == code
    assert len(client.sandbox.order_store) == 0


async def test_maintenance_can_answer_as_for_an_unknown_number(client: Client) -> None:
    """The maintenance that looks like "not known" is the one that must prove nothing."""
    await client.issue(paper())
    await client.arm({"fault": "maintenance", "rtn_code": ASSUMED[Reason.UNKNOWN_TRADE_NO]})

    assert (await client.query("A1"))["RtnCode"] == (await client.query("Z9"))["RtnCode"]


async def test_queries_alone_can_be_out_of_order(client: Client) -> None:
    """Every number is refused as an unknown one is, while Issue and QueryItemInfo work."""
    await client.issue(paper())
    unknown = (await client.query("Z9"))["RtnCode"]
    await client.arm({"fault": "query_outage"})

    assert (await client.query("A1"))["RtnCode"] == (await client.query("Z9"))["RtnCode"] == unknown
    assert (await client.issue(paper("A2")))["RtnCode"] == 1
    item = await client.call(Endpoint.QUERY_ITEM_INFO, {"MerchantID": "3085676", "ItemNo": "VQT04959"})
    assert item["RtnCode"] == 1
    await client.arm({"fault": "query_outage", "rtn_code": 5, "seconds": 60})
    assert (await client.query("A1"))["RtnCode"] == 5


async def test_issue_alone_can_be_out_of_order(client: Client) -> None:
    """It refuses and carries nothing out, while queries work."""
    await client.issue(paper())
    await client.arm({"fault": "issue_outage"})

    assert (await client.issue(paper("A2")))["RtnCode"] == ASSUMED[Reason.MAINTENANCE]
    assert (await client.query("A1"))["RtnCode"] == 1
    assert len(client.sandbox.order_store) == 1


async def test_an_envelope_can_be_not_accepted(client: Client) -> None:
    """TransCode ≠ 1, no Data, nothing carried out."""
    await client.arm({"fault": "trans_code", "trans_code": 7, "message": "no"})

    opened = client.opened(await client.post(Endpoint.ISSUE, paper()))

    assert (opened.trans_code, opened.trans_msg, opened.payload) == (7, "no", None)
    assert len(client.sandbox.order_store) == 0


async def test_a_report_can_be_lost_and_corrupted(client: Client) -> None:
    """Faults know no difference between an envelope and a file."""
    await client.arm(
        {"fault": "answer_lost_after", "endpoint": "order_detail", "count": 1},
        {"fault": "garbage", "endpoint": "order_detail", "body": "x", "count": 1},
    )

    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(Endpoint.ORDER_DETAIL, REPORT)
    client.clock.advance(60)

    assert (await client.post(Endpoint.ORDER_DETAIL, REPORT)).content == b"x"


async def test_a_bad_envelope_can_meet_a_fault_too(client: Client) -> None:
    """What breaks below the protocol breaks for every request."""
    await client.arm({"fault": "server_error", "status": 502})

    assert (await client.send(Endpoint.ISSUE, b"nonsense")).status_code == 502


async def test_faults_are_set_shown_and_cleared(client: Client) -> None:
    """PUT, GET, DELETE, and everything is as before."""
    url = f"{client.sandbox.base_url}/_/faults"
    put = await client.http.put(url, json={"seed": 5, "faults": [{"fault": "maintenance", "count": 9}]})
    await client.issue(paper())
    shown = (await client.http.get(url)).json()
    cleared = (await client.http.delete(url)).json()

    assert put.json()["faults"][0]["fired"] == 0
    assert (shown["seed"], shown["faults"][0]["seen"], shown["faults"][0]["fired"]) == (5, 1, 1)
    assert cleared["faults"] == []
    assert (await client.issue(paper()))["RtnCode"] == 1
    assert (await client.stats())["faults"] == {"maintenance": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"faults": [{"fault": "slwo"}]}', "slow answer_lost_after"),
        (b" " * 1_048_577, "larger"),
    ],
)
async def test_wrong_faults_are_refused_and_change_nothing(client: Client, body: bytes, words: str) -> None:
    """HTTP 400 with the problems; the faults before stay in force."""
    url = f"{client.sandbox.base_url}/_/faults"
    await client.arm({"fault": "maintenance"})

    answer = await client.http.put(url, content=body)

    assert answer.status_code == 400
    assert mentions(answer.json()["problems"][0], words)
    assert [fault["fault"] for fault in (await client.http.get(url)).json()["faults"]] == ["maintenance"]


async def test_the_statistics_count_what_clients_got(client: Client) -> None:
    """One outcome per call, by endpoint."""
    await client.arm({"fault": "answer_lost_after", "trade_no": "A2"}, {"fault": "server_error", "trade_no": "A3"})
    await client.issue(paper("A1"))
    await client.issue(paper("A1"))
    await client.post(Endpoint.ISSUE, paper("A3"))
    await client.send(Endpoint.ISSUE, b"{}")
    await client.query("A1")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.issue(paper("A2"))

    stats = await client.stats()

    assert stats["calls"] == {
        "issue": {"accepted": 1, "refused": 1, "http_500": 1, "not_accepted": 1, "connection_closed": 1},
        "query_issue_result": {"accepted": 1},
        "query_item_info": {},
        "order_detail": {},
    }
    assert stats["refusals"] == {"repeated_trade_no": 1, "not_an_envelope": 1}
    assert (stats["orders"], stats["tickets"]) == (2, 4)
    assert stats["faults"] == {"answer_lost_after": 1, "server_error": 1}


async def test_late_effects_that_wait_are_bounded(start: Start, clock: Clock) -> None:
    """As many as the store may hold orders; the others have no effect and are counted."""
    client = await start(SandboxSettings(port=0, max_orders=2))
    await client.arm({"fault": "late_effect", "seconds": 1})
    for number in ("A1", "A2", "A3"):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.issue(paper(number))

    clock.advance(1)

    assert [order["trade_no"] for order in await client.orders()] == ["A1", "A2"]
    assert (await client.stats())["late_effects"] == {"done": 2, "refused": 1, "pending": 0}


async def test_the_same_seed_hits_the_same_calls_again(start: Start) -> None:
    """A run that failed can be repeated."""
    runs = []
    for _ in range(2):
        client = await start(SandboxSettings(port=0))
        await client.arm({"fault": "maintenance", "rate": 0.5}, seed=11)
        runs.append([(await client.issue(paper(f"A{place}")))["RtnCode"] for place in range(20)])

    assert runs[0] == runs[1]
    assert len(set(json.dumps(runs[0]))) > 1
    assert 0 < runs[0].count(1) < 20
