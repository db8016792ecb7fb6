"""The main job before one's eyes: local Kafka, sandbox and adapter, sample orders, and books that must agree.

It uses the adapter as a stranger would: the real `run` command in a process of its own, the public topics, the
sandbox's HTTP pages. Nothing here is needed in production.
"""
