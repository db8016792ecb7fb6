"""The settings of a sandbox: plain values with sensible defaults, checked once.

The description of a default names it as assumed if ECPay has not documented it; every one can be changed. Does not read
environment or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from adapter.dev.sandbox.catalogue import BUILT_IN_ITEMS, CatalogueItem
from adapter.dev.sandbox.codes import code_table
from adapter.dev.sandbox.order_store import SEQUENCE_LIMIT
from adapter.errors import SettingsError
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder

# Public test accounts of ECPay's stage, published on its pages 29911, 40321 and 36326 and in its AI skill repository
# (docs/ecticket-protocol.md, 7).  They open nothing but the test host.
_PLATFORM_KEYS: Final = Credentials(hash_key="b15bd8514fed472c", hash_iv="9c8458263def47cd")
_FAMILY_A_KEYS: Final = Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
_FAMILY_B_KEYS: Final = Credentials(hash_key="c539115ea7674f20", hash_iv="86f625e60cb1473a")
_FAMILY_C_KEYS: Final = Credentials(hash_key="1069c84afab54f16", hash_iv="795c968d90c14971")
_PLATFORM: Final = "3085672"


def _bound(merchant_id: str, keys: Credentials) -> tuple[Merchant, Merchant]:
    by_platform = Merchant(
        merchant_id=merchant_id, credentials=keys, platform_id=_PLATFORM, platform_credentials=_PLATFORM_KEYS
    )
    return Merchant(merchant_id=merchant_id, credentials=keys), by_platform


PUBLIC_TEST_MERCHANTS: Final = (
    *_bound("3085676", _FAMILY_A_KEYS),
    *_bound("3362787", _FAMILY_B_KEYS),
    Merchant(merchant_id="3361934", credentials=_FAMILY_C_KEYS),
)
"""The public test merchants, those of families A and B also through the public test platform."""

BUILT_IN_STORES: Final[Mapping[str, bool]] = MappingProxyType({"TPE01": True, "KHH02": True, "OLD99": False})
"""Branches for StoreID: whether each is active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """The settings of a sandbox; every time and duration is in seconds.

    Raises:
        SettingsError: one sentence for every value out of range.
    """

    host: str = "127.0.0.1"
    """Where to listen; the sandbox has no access control, so anything but loopback is for closed networks."""
    port: int = 8700
    """0 means any free port."""
    merchants: tuple[Merchant, ...] = PUBLIC_TEST_MERCHANTS
    """Who may call; a merchant may be listed once for itself and once for each platform."""
    items: tuple[CatalogueItem, ...] = BUILT_IN_ITEMS
    """The items on sale at start."""
    stores: Mapping[str, bool] = field(default_factory=lambda: BUILT_IN_STORES)
    """Known branches and whether each is active."""
    job_seconds: float = 5.0
    """From an accepted Issue to the end of its job (ECPay: within 5 minutes); paper is issued during the call."""
    visible_after_seconds: float = 0.0
    """From an accepted Issue until queries and reports know the order."""
    codes: Mapping[str, int] = field(default_factory=dict)
    """Changes to the table of assumed TransCodes and RtnCodes, by name of the reason."""
    timestamp_tolerance_seconds: float = 600.0
    """How far RqHeader.Timestamp may be off; exactly this much is still accepted."""
    timestamp_late_only: bool = False
    """Accept timestamps in the future without limit (assumed: refused)."""
    legacy_checksums: bool = False
    """Accept checksums under other encoders than the official one."""
    strict_paths: bool = False
    """Distinguish `/api/ticket/issue` from `/api/Ticket/Issue` (assumed: the same)."""
    payment_provider_required: bool = True
    """Family `issuance` asks for PaymentProvider 1 or 2 (from ECPay's AI skill repository)."""
    serial_numbers_open: bool = True
    """Whether IssueType 4 is open (two older crawls of ECPay's page say it is not)."""
    report_interval_seconds: float = 60.0
    """One report per merchant in this time (spec, OrderDetail); 0 removes the limit."""
    report_encoding: Literal["utf-8-sig", "cp950"] = "utf-8-sig"
    """The encoding of reports (assumed: UTF-8 with a byte order mark)."""
    answer_type: Literal["text/html; charset=utf-8", "application/json"] = "text/html; charset=utf-8"
    """Content-Type of answers; the page's clients ask for text/html."""
    notify_after_seconds: float = 0.0
    """From a redemption or refund to the first sending of its notification (ECPay: a daily job)."""
    notify_again_seconds: float = 600.0
    """Sendings are 0.5 to 1.5 times this apart (ECPay: 5 to 15 minutes)."""
    notify_again_times: int = 4
    """How often a notification is sent again if its answer is not RtnCode 1 (ECPay: up to four times)."""
    notify_timeout_seconds: float = 10.0
    """Time-out for the answer to a notification (from ECPay's AI skill repository)."""
    notify_lenient: bool = False
    """Accept `1|OK` where ECTicket asks for the envelope with RtnCode 1; the delivery log names it."""
    notify_header: Literal["RqHeader", "RpHeader"] = "RqHeader"
    """The shape of notifications: a request, as on ECPay's pages, or an answer, as in its AI guides."""
    notify_encoder: Encoder = Encoder.ESCAPE_DATA_STRING
    """Encoder of notifications; ECPay's production used `dotnet_http_utility` until September 2026."""
    notify_extra_fields: bool = False
    """Add TicketTradeNo to refund notifications, which one known client requires."""
    notify_concurrency: int = 16
    """Maximum number of notifications under way at once."""
    max_notifications: int = 10_000
    """Notifications that the queue holds, finished ones included; while all are open, nothing is redeemed."""
    keep_alive_seconds: int = 75
    """Idle connections are closed after this time."""
    max_orders: int = 200_000
    """Orders that the store holds, pending late effects included; then Issue is refused (`order_store_full`). About
    2 kB each.
    """
    max_items: int = 10_000
    """Items that the catalogue holds."""
    max_body_bytes: int = 262_144
    """Largest request body; larger ones get HTTP 413."""
    seed: int = 0
    """Seed of all random choices, until a set of faults brings its own."""

    def __post_init__(self) -> None:
        """Reject impossible values, all mistakes at once."""
        code_table(self.codes)
        problems = [*self._range_problems(), *self._merchant_problems()]
        if problems:
            raise SettingsError(*problems)

    def _range_problems(self) -> list[str]:
        ranges: dict[str, tuple[float, float, float]] = {
            "port": (self.port, 0, 65_535),
            "job_seconds": (self.job_seconds, 0, 86_400),
            "visible_after_seconds": (self.visible_after_seconds, 0, 86_400),
            "timestamp_tolerance_seconds": (self.timestamp_tolerance_seconds, 0, 86_400),
            "report_interval_seconds": (self.report_interval_seconds, 0, 86_400),
            "notify_after_seconds": (self.notify_after_seconds, 0, 86_400),
            "notify_again_seconds": (self.notify_again_seconds, 0, 86_400),
            "notify_again_times": (self.notify_again_times, 0, 100),
            "notify_timeout_seconds": (self.notify_timeout_seconds, 0.001, 86_400),
            "notify_concurrency": (self.notify_concurrency, 1, 1_000),
            "max_notifications": (self.max_notifications, 200, 1_000_000),
            "keep_alive_seconds": (self.keep_alive_seconds, 1, 86_400),
            "max_orders": (self.max_orders, 1, SEQUENCE_LIMIT),
            "max_items": (self.max_items, 1, 1_000_000),
            "max_body_bytes": (self.max_body_bytes, 1_024, 16_777_216),
        }
        return [
            f"sandbox: {name} must be from {low} to {high}, not {value}"
            for name, (value, low, high) in ranges.items()
            if not low <= value <= high
        ]

    def _merchant_problems(self) -> list[str]:
        counts = Counter((merchant.merchant_id, merchant.platform_id) for merchant in self.merchants)
        return [
            f"sandbox: merchant {merchant_id} is listed twice" + (f" for platform {platform_id}" if platform_id else "")
            for (merchant_id, platform_id), count in counts.items()
            if count > 1
        ]
