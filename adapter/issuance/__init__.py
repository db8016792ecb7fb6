"""What is to be issued, how it can end and what to do next: pure functions of their arguments.

Exists so that the decisions that cost money can be read and tested without a network, a broker or a clock. Refuses to
do anything: no I/O, no time of its own, no settings; `flows` asks, acts and comes back with what happened.
"""
