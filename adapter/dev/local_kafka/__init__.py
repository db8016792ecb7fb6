"""A real Apache Kafka on this machine with nothing but pip, for the demo and the tests.

`broker.py` is what others see: `LocalKafka`. The Java runtime is a wheel, the broker's jars come down once and stay in
the user's cache. Nothing here is for production, and nothing here knows topics, orders or tickets.
"""
