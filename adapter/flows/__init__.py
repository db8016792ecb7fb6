"""The flows: how a paid order is submitted, how its result is queried, how events are delivered; one module each.

Flows connect the pure packages (`issuance`, `protocol`) with those that act (`stream`, `provider`, `extensions`). They
decide nothing that `issuance` can decide, and publish nothing themselves: they return outcomes, and the engine
publishes them. Only `receive` has no record to settle: it passes ECPay's notification to a publisher before it answers.
"""
