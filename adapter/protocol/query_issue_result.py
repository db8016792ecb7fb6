"""QueryIssueResult: the result of an issuance (page "Query Ticket Issuance Results", developers.ecpay.com.tw/32186).

Only this answer proves that tickets exist. It does not interpret a refusal: RtnCode ≠ 1 may mean an unknown number, a
job that has not run yet, or a maintenance.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Self

from msgspec import Struct

from adapter.errors import UnreadableReply
from adapter.protocol.fields import Payload, integer, optional_text
from adapter.protocol.issue import TradeNo


@unique
class IssueStatus(IntEnum):
    """Status, Int: the result of the scheduled job."""

    ISSUED = 1
    FAILED = 2
    IN_PROGRESS = 3


class ResultRequest(Struct, frozen=True, kw_only=True):
    """Queries one issuance by its number; "only one of them can be filled", so the other number is left out."""

    merchant_id: str
    trade_no: TradeNo

    def to_payload(self) -> dict[str, object]:
        """Write the plaintext of `Data`."""
        return {"MerchantID": self.merchant_id, **self.trade_no.to_payload()}


class ResultReply(Struct, frozen=True, kw_only=True):
    """The answer: with `rtn_code` 1 there is a `status`; `remark` String(100) explains a failure."""

    rtn_code: int
    rtn_msg: str
    trade_no: TradeNo | None
    status: IssueStatus | None
    remark: str | None

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """Read the answer; Status is read only if RtnCode is 1.

        Raises:
            UnreadableReply: RtnCode is missing, RtnCode is 1 and Status is not documented, or a field is of
                another type.
        """
        rtn_code = integer(payload, "RtnCode")
        return cls(
            rtn_code=rtn_code,
            rtn_msg=optional_text(payload, "RtnMsg") or "",
            trade_no=TradeNo.from_payload(payload),
            status=_status(integer(payload, "Status")) if rtn_code == 1 else None,
            remark=optional_text(payload, "Remark"),
        )


def _status(number: int) -> IssueStatus:
    """Return the status of a documented number."""
    try:
        return IssueStatus(number)
    except ValueError as error:
        raise UnreadableReply(f"Status must be 1, 2 or 3, and it is {number}.") from error
