"""Hosts, product families and paths of the endpoints.

ECPay publishes the same protocol twice, under different paths and with unclear labels. So families are named by their
path.
"""

from __future__ import annotations

from enum import StrEnum, unique

STAGE_URL = "https://ecticket-stage.ecpay.com.tw"
"""ECPay's test host; the public test merchants exist only here."""

PRODUCTION_URL = "https://ecticket.ecpay.com.tw"
"""ECPay's host where tickets are real."""


class Family(StrEnum):
    """Which of ECPay's two document sets a merchant's contract follows."""

    TICKET = "ticket"
    """All paths under /api/Ticket/ (pages 32105 to 32236, 48558)."""

    ISSUANCE = "issuance"
    """Issue at /api/issuance/issue, with PaymentProvider; all else under /api/Ticket/ (pages 40271 to 40389, 42706)."""


@unique
class Endpoint(StrEnum):
    """An endpoint of ECTicket; the value is ECPay's name for it."""

    ISSUE = "Issue"
    QUERY_ISSUE_RESULT = "QueryIssueResult"
    QUERY_ITEM_INFO = "QueryItemInfo"
    ORDER_DETAIL = "OrderDetail"


_ISSUANCE_PATHS = {Endpoint.ISSUE: "/api/issuance/issue"}


def path(endpoint: Endpoint, family: Family) -> str:
    """Return the path of an endpoint exactly as documented, including upper and lower case.

    >>> path(Endpoint.ISSUE, Family.TICKET), path(Endpoint.ISSUE, Family.ISSUANCE)
    ('/api/Ticket/Issue', '/api/issuance/issue')
    """
    common = f"/api/Ticket/{endpoint.value}"
    return _ISSUANCE_PATHS.get(endpoint, common) if family is Family.ISSUANCE else common
