"""Calls to ECTicket, against real sockets on this machine."""
