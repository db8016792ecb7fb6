"""Runs stages: reads records, publishes their outcomes and commits offsets, exactly once.

`stage.py` and `records.py` are the interface for other packages, and `engine.py` runs a stage. The docstring of
`engine.py` explains how exactly-once works. Contains no ticket code and no Kafka client.
"""
