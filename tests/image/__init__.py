"""The container image: what its file says is executed, as far as that is possible without a container engine."""
