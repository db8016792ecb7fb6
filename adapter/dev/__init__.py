"""What never runs in production: the sandbox, the local Kafka and the demo."""
