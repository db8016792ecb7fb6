"""Records in, records out, offsets: an engine that never heard of tickets.

`stage.py` and `records.py` are what others see; `engine.py` runs a stage. How exactly-once comes about is told at
the top of `engine.py`.
"""
