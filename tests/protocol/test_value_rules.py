"""The rules of single values: texts that keep them and texts that break them, each in an otherwise right request."""

from __future__ import annotations

import pytest

from .samples import MAILED, NO_ALPHANUMERICS, altered, broken_fields

GOOD: dict[str, list[str]] = {
    "merchant_id": ["1", "3085676", "1234567890"],
    "operator": ["A", "AngelaChan", "0123456789"],
    "store_id": ["A1", "TP" * 10],
    "customer_name": [
        "王明", "王小明", "歐陽" * 10, "瓦歷斯·諾幹", "拉娃‧谷幸", "𠮷田", "〇九", "Jo", "Angela Chan",
        "J. R. O'Hara-Li", "Wang, Amy", "Li Jr.", "A" * 20,
    ],
    "customer_phone": ["0912345678", "0900000000"],
    "customer_email": [
        "a@b.tw", "abc@gmail.com", "a.b+c_d-e@mail-1.example.com.tw", "o'hara@x.io", "x" * 73 + "@ab.com",
    ],
    "customer_address": ["台", "115台北市南港區三重路19-2號6樓-2 (後棟) 3 < 4 & 5 > 2", "路" * 100, "Rd. 1\nTaipei"],
    "refund_notify_url": [
        "http://a.tw", "https://www.example.com.tw:443/a/b?c=d&e=%20#f", "HTTPS://xn--fiq.tw/", "https://1.2.3.4/",
        "https://a.tw/" + "x" * 187,
    ],
    "payment_provider": ["1", "2"],
}  # fmt: skip
BAD: dict[str, list[str]] = {
    "merchant_id": [*NO_ALPHANUMERICS, "1" * 11],
    "operator": [*NO_ALPHANUMERICS, "AngelaChan1"],
    "store_id": [*NO_ALPHANUMERICS, "A", "A" * 21],
    "customer_name": [
        "", " ", "王", "J", "王Amy", "Amy 王", "王 小明", "王小明 ", " 王小明", "王小明1", "Amy2", "王．", "·王小明",
        "ＡＭＹ", "José", "みなみ", "김철수", "王" * 21, "A" * 21, "<b>王明</b>", "王明\n", "- -", "王明😀",
        "\ud800\ud800",
    ],
    "customer_phone": [
        "", "0812345678", "091234567", "09123456789", "0912-345678", "0912 345 678", "+886912345678",
        "０９１２３４５６７８", "09١٢٣٤٥٦٧٨", "0912345678\n", "09abcdefgh",
    ],
    "customer_email": [
        "", "abc", "abc@", "@gmail.com", "abc@gmail", "a b@gmail.com", "abc@@gmail.com", "abc＠gmail.com",
        "ａbc@gmail.com", "王@gmail.com", "abc@gmail..com", "abc@.com", "abc@gmail.com.", "<a@b.tw>", "a@b.tw, c@d.tw",
        "abc@gmail.com\n",
        "x" * 74 + "@ab.com",
    ],
    "customer_address": ["", " ", "\u3000", "路" * 101, "<b>台北</b>", "台北</p>", "台北<!-- x", "<?xml", "台北\ud83d"],
    "refund_notify_url": [
        "", "a.tw", "//a.tw/", "ftp://a.tw/", "javascript:alert(1)", "http://", "http:///path", "http://?q",
        "https://a b.tw/", "https://王.tw/", "https://a.tw/<b>", 'https://a.tw/"', "https://a.tw/\n", "http://[::1/",
        "https://a.tw/" + "x" * 188,
    ],
    "payment_provider": ["", "0", "3", "12", "ECPay"],
}  # fmt: skip
BAD["use_status_notify_url"], GOOD["use_status_notify_url"] = BAD["refund_notify_url"], GOOD["refund_notify_url"]

WIRE = {
    "merchant_id": "MerchantID",
    "operator": "Operator",
    "store_id": "StoreID",
    "customer_name": "CustomerName",
    "customer_phone": "CustomerPhone",
    "customer_email": "CustomerEmail",
    "customer_address": "CustomerAddress",
    "refund_notify_url": "RefundNotifyURL",
    "use_status_notify_url": "UseStatusNotifyURL",
    "payment_provider": "PaymentProvider",
}


def _cases(table: dict[str, list[str]]) -> list[object]:
    """Lay a table out as test parameters."""
    return [
        pytest.param(field, value, id=f"{field}-{ascii(value)[:30]}")
        for field, values in table.items()
        for value in values
    ]


@pytest.mark.parametrize(("field", "value"), _cases(GOOD))
def test_value_keeps_its_rule(field: str, value: str) -> None:
    """Shortest, longest, and the odd ones that are right."""
    assert broken_fields(altered(MAILED, **{field: value})) == []


@pytest.mark.parametrize(("field", "value"), _cases(BAD))
def test_value_breaks_its_rule(field: str, value: str) -> None:
    """Too short, too long, and the odd ones that are wrong; no other field is blamed."""
    assert broken_fields(altered(MAILED, **{field: value})) == [WIRE[field]]


@pytest.mark.parametrize("field", WIRE)
@pytest.mark.parametrize("value", [7, True, [], {}, b"AngelaChan", object()], ids=lambda value: type(value).__name__)
def test_value_of_another_type_breaks_its_rule(field: str, value: object) -> None:
    """Plugins make requests, too, and Python lets them put anything in."""
    assert broken_fields(altered(MAILED, **{field: value})) == [WIRE[field]]


@pytest.mark.parametrize("field", ["merchant_id", "operator"])
def test_required_text_must_be_there(field: str) -> None:
    """MerchantID and Operator are required of everyone."""
    assert broken_fields(altered(MAILED, **{field: None})) == [WIRE[field]]
