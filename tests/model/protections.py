"""What keeps an order from being issued twice, each of it with a switch: a model that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """All on, unless a test wants to see what comes of it.

    `fencing`: a transaction of a producer fails once a later one was started. `reservation`: nothing is sent before a
    commit says that it may have been. `possibly_sent`: what an earlier owner may have sent counts as possibly sent.
    `own_commit`: a process believes what it remembers of its own sends only while the last commit is its own.
    `settled_runs`: what was settled beyond the committed offset is not processed again. `fingerprint`: a new owner
    learns that the mapping has changed. `lease`: no send without a recent answer of the group. `fresh_revoked_work`: an
    outcome that was not committed is forgotten when others may have owned its partition. `plan_travels`: a deferred
    order carries its plan, and that it may have been sent. `query`, `control_query`, `liveness_proof`: the question is
    asked, and its answer not assumed. `same_endpoint`: the liveness proof is QueryIssueResult's own. `waiting`: nothing
    is believed before the waiting times are over. `candidate_numbers`: an order that may have been sent under another
    mapping is asked about under its numbers, too.
    """

    fencing: bool = True
    reservation: bool = True
    possibly_sent: bool = True
    own_commit: bool = True
    settled_runs: bool = True
    fingerprint: bool = True
    lease: bool = True
    fresh_revoked_work: bool = True
    plan_travels: bool = True
    query: bool = True
    control_query: bool = True
    liveness_proof: bool = True
    same_endpoint: bool = True
    waiting: bool = True
    candidate_numbers: bool = True


ALL_ON = Protections()
