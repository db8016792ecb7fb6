"""Where each question is asked: hosts, product families and paths.

Exists because ECPay publishes the same protocol twice under other paths, and the labels of the two are
disputed: families are therefore named by their path. Refuses to know how a call is made.
"""

from __future__ import annotations

from enum import Enum, StrEnum, unique

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
class Endpoint(Enum):
    """A question that can be put to ECTicket; the value is ECPay's name of it."""

    ISSUE = "Issue"
    QUERY_ISSUE_RESULT = "QueryIssueResult"
    QUERY_ITEM_INFO = "QueryItemInfo"
    ORDER_DETAIL = "OrderDetail"


_ISSUANCE_PATHS = {Endpoint.ISSUE: "/api/issuance/issue"}


def path(endpoint: Endpoint, family: Family) -> str:
    """Give the path of an endpoint exactly as documented, letter case included.

    >>> path(Endpoint.ISSUE, Family.TICKET), path(Endpoint.ISSUE, Family.ISSUANCE)
    ('/api/Ticket/Issue', '/api/issuance/issue')
    """
    common = f"/api/Ticket/{endpoint.value}"
    return _ISSUANCE_PATHS.get(endpoint, common) if family is Family.ISSUANCE else common
