"""What the adapter costs: orders a second, CPU, memory and time, measured on real processes and a real broker.

    .venv/bin/python -m benchmarks --help

Each benchmark starts everything it needs and measures from the outside. From the adapter itself it uses only the number
of transactions. docs/performance.md describes what is measured, how, and the results.
"""
