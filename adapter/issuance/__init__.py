"""Plan issuances and decide what to do next with them: pure functions of their arguments.

So the decisions that cost money can be read and tested without a network, a broker or a clock. This package does no
I/O, reads no clock and no settings: `flows` calls it, performs the action, and returns with the result.
"""
