"""The aiokafka client behind the port of `stream`, and everything else that speaks to brokers.

`wiring` builds the client and hands it to the engine, so that `stream` knows no client.
"""
