"""The demo: local Kafka, sandbox, adapter, sample orders, and a check that the results agree.

It uses the adapter as a user would: the `run` command in a separate process, the public topics, the sandbox's HTTP
API. Nothing here is needed in production.
"""
