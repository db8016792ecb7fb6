"""The stories: how a paid order is submitted, how its result is awaited, and what is told of it. One story per file.

Flows join the pure rooms (`issuance`, `protocol`) with those that act (`stream`, `provider`, `extensions`). They decide
nothing that `issuance` can decide, and publish nothing themselves: they return outcomes, and the engine does the rest.
"""
