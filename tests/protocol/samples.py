"""Merchants, requests and strategies that several tests of the protocol share.

The keys are ECPay's public test accounts (stage only), published on pages 29911, 32235 and 40321.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from quick import examples

from adapter.protocol.checksum import check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder, encode
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.rules import issue_violations
from adapter.values import replace

NOW = 1_700_000_000
TODAY = date(2024, 3, 1)

KEYS = Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
OTHER_KEYS = Credentials(hash_key="c539115ea7674f20", hash_iv="86f625e60cb1473a")
PLATFORM_KEYS = Credentials(hash_key="b15bd8514fed472c", hash_iv="9c8458263def47cd")
# Characters that the encoders treat differently, which ECPay's own keys never hold.
ODD_KEYS = Credentials(hash_key="ab!*'()~+/=&%#cd", hash_iv='"<>[]{}|\\^`@:;,?')

MERCHANT = Merchant(merchant_id="3085676", credentials=KEYS)
OTHER_MERCHANT = Merchant(merchant_id="3362787", credentials=OTHER_KEYS)
PLATFORM_MERCHANT = Merchant(
    merchant_id="3085676", credentials=KEYS, platform_id="3085672", platform_credentials=PLATFORM_KEYS
)

SECRETS = tuple(
    secret for keys in (KEYS, OTHER_KEYS, PLATFORM_KEYS, ODD_KEYS) for secret in (keys.hash_key, keys.hash_iv)
)

NUMBER = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX20220302153064851")
GIFT_NUMBER = TradeNo(kind=TradeNoKind.FREE, value="FREE2022030215306485")

CONVENIENCE_STORE = IssueRequest(
    merchant_id="3085676",
    trade_no=NUMBER,
    issue_type=IssueType.CONVENIENCE_STORE,
    use_status_notify_url="http://www.happybuy123.com.tw/notifyurl",
    operator="AngelaChan",
    customer_email="abc@gmail.com",
    ticket_info=(
        TicketInfo(item_no="VQT04959", ticket_amount=4),
        TicketInfo(item_no="VNS21400", ticket_amount=4),
    ),
)
"""The page's first example, with as many tickets as a convenience store hands out."""

PAPER = IssueRequest(
    merchant_id="3085676",
    trade_no=NUMBER,
    issue_type=IssueType.PAPER,
    print_type=PrintType.MERCHANT,
    use_status_notify_url="http://www.happybuy123.com.tw/notifyurl",
    operator="AngelaChan",
    customer_name="王珊珊",
    ticket_info=(
        TicketInfo(item_no="VQT04959", ticket_amount=10),
        TicketInfo(item_no="VNS21400", ticket_amount=10),
    ),
)
"""The page's second example."""

ELECTRONIC = IssueRequest(
    merchant_id="3085676",
    trade_no=NUMBER,
    issue_type=IssueType.ELECTRONIC,
    is_immediate=False,
    operator="AngelaChan",
    customer_name="王珊珊",
    customer_phone="0912345678",
    customer_email="abc@gmail.com",
    ticket_info=(
        TicketInfo(item_no="VQT04959", ticket_amount=8, start_date=date(2024, 3, 2)),
        TicketInfo(item_no="VNS21400", ticket_amount=6, start_date=date(2024, 3, 2)),
    ),
)
"""The page's third example: usable later."""

SERIAL_NUMBER = IssueRequest(
    merchant_id="3085676",
    trade_no=NUMBER,
    issue_type=IssueType.SERIAL_NUMBER,
    use_status_notify_url="http://www.happybuy123.com.tw/notifyurl",
    operator="AngelaChan",
    ticket_info=(
        TicketInfo(item_name="五星渡假飯店假日住宿券", ticket_price=6600, ticket_amount=2),
        TicketInfo(item_name="SPA課程體驗券", ticket_price=3200, ticket_amount=4),
    ),
)
"""The page's fourth example."""

GIFT = IssueRequest(
    merchant_id="3085676",
    trade_no=GIFT_NUMBER,
    issue_type=IssueType.CONVENIENCE_STORE,
    operator="AngelaChan",
    customer_email="abc@gmail.com",
    ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=1, expire_date=date(2024, 12, 31)),),
)
"""Nothing but gift vouchers: numbered by FreeTradeNo, each with its end."""

MAILED = replace(PAPER, print_type=PrintType.ECPAY, customer_address="115台北市南港區三重路19-2號6樓-2")
"""Paper that ECPay prints."""

EXAMPLES = {
    "convenience store": CONVENIENCE_STORE,
    "paper": PAPER,
    "electronic": ELECTRONIC,
    "serial number": SERIAL_NUMBER,
    "gift": GIFT,
}

NO_ALPHANUMERICS = ["", " ", "A B", "A-1", "A_1", "王", "Ａ１", "é", "٣", "²", "A\n", "\nA", "<b>", "\ud800", "a\x00"]
"""Texts that are no half-width letters or digits, although some of them look like it."""

fast = settings(max_examples=examples(50), deadline=None)
"""For properties that cost microseconds."""

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
"""Any Unicode text; a lone surrogate is none."""

encoded_texts = st.lists(
    st.binary(max_size=3)
    | st.sampled_from([*b"% = + ~ ( %7E %41 %2 %3D %0a %F0%9F".split(), b" ", b"\n", b"\r"])
    | st.integers(0, 255).map(lambda byte: b"%%%02X" % byte)
    | st.text("aZ0-_.~", max_size=3).map(str.encode),
    max_size=8,
).map(b"".join)
"""Percent-encoded texts of senders that follow no rule."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(unicode_text, inner, max_size=3),
    max_leaves=5,
)
"""Any JSON value."""

payloads = st.dictionaries(unicode_text, json_values, max_size=4)
"""Any JSON object."""

ENVELOPE_FIELDS = (
    "PlatformID", "MerchantID", "RqHeader", "RpHeader", "Timestamp", "TransCode", "TransMsg", "Data", "CheckMacValue",
)  # fmt: skip
PAYLOAD_FIELDS = (
    "MerchantID", "RtnMsg", "MerchantTradeNo", "FreeTradeNo", "TicketTradeNo", "TicketData", "ItemNo", "ItemName",
    "TicketPrice", "TicketAmount", "Status", "Remark", "TicketType", "ItemAmount", "ItemStatus", "ModifyDate",
    "InstructionsList", "IssueType", "Description",
)  # fmt: skip

_odd = json_values | st.sampled_from(
    [
        1,
        0,
        2,
        "1",
        "",
        "abc",
        "20220801 15:30",
        [{}],
        [{"TicketAmount": 1}],
        [{"IssueType": "1"}],
        "[]",
        '[{"a":1}]',
        {},
    ]
)
wire_payloads = st.fixed_dictionaries({"RtnCode": st.just(1) | _odd}, optional=dict.fromkeys(PAYLOAD_FIELDS, _odd))
"""Objects with the protocol's field names and anything in them."""

Value = TypeVar("Value")


def broken_fields(request: IssueRequest) -> list[str]:
    """Name the fields of a request that break a rule."""
    return [violation.field for violation in issue_violations(request, today=TODAY)]


def altered(request: IssueRequest, **changed: object) -> IssueRequest:
    """Change fields, also to what their types forbid."""
    return replace(request, **changed)  # type: ignore[arg-type]  # wrong on purpose


def altered_entry(request: IssueRequest, **changed: object) -> IssueRequest:
    """Change the first entry of TicketInfo, as `altered` does."""
    first, *others = request.ticket_info
    return replace(request, ticket_info=(replace(first, **changed), *others))  # type: ignore[arg-type]  # as above


def odd_number(kind: object, value: object) -> TradeNo:
    """Make a number that may be none."""
    return TradeNo(kind=kind, value=value)  # type: ignore[arg-type]  # wrong on purpose


def sent_by(encoder: Encoder, plaintext: str, keys: Credentials = KEYS) -> tuple[str, str]:
    """Seal a text as a client with that encoder does: Data and CheckMacValue."""
    encoded = encode(plaintext, encoder)
    return encrypt(encoded, keys), check_mac(encoded, keys, encoder)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Go through an error and everything that Python would print or keep with it."""
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None:
            yield one
            pending += [one.__cause__, one.__context__]


def raised_by(call: Callable[[], object]) -> Exception | None:
    """Call, and answer with what was raised."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # the test decides which ones are allowed
        return error
    return None
