"""An ECTicket with faults on demand: every rule of the specification, and no money.

Theory of operation
===================

    bytes ──envelope_check──> envelope accepted? ──faults──> what goes wrong with this call?
                                   │
                                   └──simulator──> services ──payload_parsing, issue_validation──> order_store,
                                         │                                                          catalogue, reports
                                         └──> one SimulatedResponse: the answer and its delay ──web──> the socket

    a click, or POST /_/orders/... ──redemption──> ticket_states: what became of tickets
                                         └──> notifications ──notification_queue──> what is due ──notification_sender──>
                                                                                                             the socket

All decisions are pure and take the time as an argument. Only `web`, `connection`, `notification_sender` and `running`
use sockets. Nothing survives the process, and memory is bounded: `max_orders` orders (none is ever forgotten; when
full, Issue is refused), as many late effects, `max_items` items, `max_notifications` notifications (finished ones are
forgotten, open ones never), 100 faults, and counters with a fixed set of names.

What ECPay has not documented is assumed, named as assumed, and can be changed: every code except 1 (`codes`), the
format of reports, the answer to a repeated number, the shape of notifications. The manual is `docs/sandbox.md`.
"""

from adapter.dev.sandbox.running import RunningSandbox, serve
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.simulator import Simulator
from adapter.dev.sandbox.web import create_app

__all__ = ["RunningSandbox", "SandboxSettings", "Simulator", "create_app", "serve"]
