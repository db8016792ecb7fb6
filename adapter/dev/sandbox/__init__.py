"""An ECTicket that misbehaves when told: every rule of the specification, no money, and faults on demand.

Theory of operation
===================

    bytes ──reception──> envelope accepted? ──faults──> what goes wrong with this call?
                                   │
                                   └──desk──> services ──reading, judging──> books, catalogue, reports
                                         └──> one Turn: what the client gets, and when ──web──> the socket

    a click, or POST /_/orders/... ──box_office──> uses: what became of tickets
                                          └──> notifications ──outbox──> what is due, how often ──sender──> the socket

All that decides is pure and takes the time as an argument: the *books* know what is issued when, the *uses* what became
of tickets, the *outbox* what is to be told when, the *faults* whom they hit; the *desk* and the *box office* put them
together. Only `web`, `connection`, `sender` and `running` know sockets. Nothing survives the process, and memory is
bounded: by `max_orders` orders (never forgotten; when full, Issue is refused), as many late effects, `max_items` items,
`max_notifications` notifications (finished ones are forgotten, open ones never), 100 faults, and counters whose names
are few.

What ECPay has not documented is assumed, named so and changeable: every code but 1 (`codes`), how reports are written,
what a repeated number is told, what notifications look like. The manual is `docs/sandbox.md`.
"""

from adapter.dev.sandbox.running import RunningSandbox, serve
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.simulator import Simulator
from adapter.dev.sandbox.web import create_app

__all__ = ["RunningSandbox", "SandboxSettings", "Simulator", "create_app", "serve"]
