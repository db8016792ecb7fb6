"""Paths, letter by letter as documented."""

from __future__ import annotations

import pytest

from adapter.protocol.endpoints import PRODUCTION_URL, STAGE_URL, Endpoint, Family, path


@pytest.mark.parametrize(
    ("endpoint", "family", "expected"),
    [
        (Endpoint.ISSUE, Family.TICKET, "/api/Ticket/Issue"),
        (Endpoint.QUERY_ISSUE_RESULT, Family.TICKET, "/api/Ticket/QueryIssueResult"),
        (Endpoint.QUERY_ITEM_INFO, Family.TICKET, "/api/Ticket/QueryItemInfo"),
        (Endpoint.ORDER_DETAIL, Family.TICKET, "/api/Ticket/OrderDetail"),
        (Endpoint.ISSUE, Family.ISSUANCE, "/api/issuance/issue"),
        (Endpoint.QUERY_ISSUE_RESULT, Family.ISSUANCE, "/api/Ticket/QueryIssueResult"),
        (Endpoint.QUERY_ITEM_INFO, Family.ISSUANCE, "/api/Ticket/QueryItemInfo"),
        (Endpoint.ORDER_DETAIL, Family.ISSUANCE, "/api/Ticket/OrderDetail"),
    ],
)
def test_path_of(endpoint: Endpoint, family: Family, expected: str) -> None:
    """Only Issue lives elsewhere in family `issuance`, and there in lower case."""
    assert path(endpoint, family) == expected


def test_every_endpoint_has_a_path_in_every_family() -> None:
    """A new endpoint cannot be forgotten in a table."""
    assert all(path(endpoint, family).startswith("/api/") for endpoint in Endpoint for family in Family)


def test_hosts_are_the_documented_ones() -> None:
    """TLS, no port, no slash at the end."""
    assert STAGE_URL == "https://ecticket-stage.ecpay.com.tw"
    assert PRODUCTION_URL == "https://ecticket.ecpay.com.tw"
