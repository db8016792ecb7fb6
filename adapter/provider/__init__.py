"""Call ECTicket over HTTPS and turn every failure of a call into "not sent" or "in doubt".

Theory of operation
===================

A call passes four steps, in this order, and each may end it with nothing written:

    breaker    does this merchant's breaker let calls pass?            breaker (pure, time as an argument)
    limiter    is it this purpose's turn, and is a slot free?          fair queue (pure), call_limiter (asyncio)
    sealing    the envelope gets its timestamp                         client
    boundary   connected; authorize_send; first byte written           send boundary, transport

The *send boundary* is the instant that decides: before it nothing can have happened at ECTicket (`NotSent`), after it
anything can (`InDoubt`). The transport reports it in the same step in which it writes. A failed call is classified by
it and not by the name of an exception.

    exchange      one POST: boundary, deadlines, a bounded answer; knows HTTP, not ECTicket
    http_status   what a status and a Retry-After mean (pure)
    client        the five calls, the check that our number is echoed, the breaker's probe

This package knows the protocol and nothing of orders, records or settings; a subject is only a name here.
"""
