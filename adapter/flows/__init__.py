"""The stories: how a paid order is submitted, how its result is awaited, what is told of it. One story per file.

Flows join the pure rooms (`issuance`, `protocol`) with those that act (`stream`, `provider`, `extensions`). They decide
nothing that `issuance` can decide, and publish nothing themselves: they return outcomes, and the engine does the rest.
Only `receive` has no record to settle: what ECTicket says by itself it gives to a publisher before it answers.
"""
