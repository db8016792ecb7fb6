"""The chart: rendered, validated and compared with the adapter, with tools from pip alone."""
