"""What the adapter costs: orders a second, CPU, memory and time, measured on real processes and a real broker.

    .venv/bin/python -m benchmarks --help

Each benchmark starts everything it needs, measures from the outside, and believes nothing the adapter says of itself
but the number of its transactions. docs/performance.md says what is measured, how, and what came out.
"""
