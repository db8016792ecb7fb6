"""Calls ECTicket over HTTPS and turns every way a call can fail into "not sent" or "in doubt".

Theory of operation
===================

A call passes four things, in this order, and each may end it with nothing written:

    breaker   is this merchant's way to ECTicket open?                     breaker    pure, time as an argument limiter
    is it this purpose's turn, and is a slot free?               fair_rate_limiter pure, call_limiter its async shell
    sealing   the envelope gets its timestamp                              client boundary  a connection is held;
    authorize_send; first byte written     send_boundary, transport

The *send boundary* is the one instant that matters: before it nothing can have happened at ECTicket (`NotSent`), after
it anything can (`InDoubt`). So it is a thing of its own, told by the transport in the same step in which it writes, and
the verdict on a failed call follows from it rather than from the name of an exception.

    exchange  one POST: boundary, deadlines, a bounded answer             knows HTTP, not ECTicket
    http_status what a status and a Retry-After mean                         pure
    client    the five questions, the echo of our number, the breaker's probe

This room knows the protocol and nothing of orders, records or settings; a subject is a name to it.
"""
