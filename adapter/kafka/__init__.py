"""Implements the port of `stream` with aiokafka, and contains everything else that connects to brokers.

`wiring` builds the client and passes it to the engine, so that `stream` knows no client.
"""
