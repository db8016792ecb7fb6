"""A real Apache Kafka on this machine, from pip alone, for the demo and the tests.

The interface is `LocalKafka` in `broker.py`. The Java runtime is a wheel; the broker's jars are downloaded once into
the user's cache. Nothing here is for production.
"""
