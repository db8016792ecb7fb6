"""The mutations: each takes one protection away, by one change of one line or a few, and names tests that must notice.

A protection whose loss no fast test notices is not tested, whatever the coverage says. `python -m mutants` (in `tests`)
tries each one in a copy of the tree. `old` must occur once in its file, so that a mutation cannot rot unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One change: in `file`, `old` becomes `new`, and one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


STREAM = "tests/stream/"
ISSUANCE = "tests/issuance/"
FLOWS = "tests/flows/"
PROVIDER = "tests/provider/"
KAFKA = "tests/kafka/"
OPERATIONS = "tests/operations/"
PROTOCOL = "tests/protocol/"
WEB = "tests/web/"


def _stream(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"stream: {name}", f"adapter/stream/{module}.py", old, new, STREAM, tests)


def _issuance(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"issuance: {name}", f"adapter/issuance/{module}.py", old, new, ISSUANCE, tests)


def _flows(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"flows: {name}", f"adapter/flows/{module}.py", old, new, FLOWS, tests)


def _kafka(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"kafka: {name}", f"adapter/kafka/{module}.py", old, new, KAFKA, tests)


def _operations(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"operations: {name}", f"adapter/operations/{module}.py", old, new, OPERATIONS, tests)


def _provider(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"provider: {name}", f"adapter/provider/{module}.py", old, new, PROVIDER, tests)


def _protocol(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"protocol: {name}", f"adapter/protocol/{module}.py", old, new, PROTOCOL, tests)


def _web(name: str, module: str, old: str, new: str, *tests: str) -> Mutation:
    return _mutation(f"web: {name}", f"adapter/web/{module}.py", old, new, WEB, tests)


def _mutation(name: str, file: str, old: str, new: str, folder: str, tests: tuple[str, ...]) -> Mutation:
    return Mutation(name=name, file=file, old=old, new=new, tests=tuple(_test_file(folder, test) for test in tests))


def _test_file(folder: str, test: str) -> str:
    """The file of a test that is named by its module in `folder`, or by its module below `tests/` after a slash."""
    path = Path("tests") / test[1:] if test.startswith("/") else Path(folder) / test
    return str(path.with_name(f"test_{path.name}.py"))


MUTATIONS: tuple[Mutation, ...] = (
    # --- stream: who may send, and what the next owner must believe --------------------------------------------------
    _stream(
        "a send is authorized that no commit reserves",
        "owned_partition",
        "        if not self.state.reserved(offset):\n",
        "        if False:\n",
        "owned_partition",
    ),
    _stream(
        "a send is authorized while the partition is released",
        "owned_partition",
        "        if not self._sends_allowed:\n",
        "        if False:\n",
        "engine_rebalances",
    ),
    _stream(
        "a batch of which a part was settled is passed over whole",
        "blocked_partitions",
        "            self._continue_behind(member, owned, settled_past - 1)\n",
        "            self._continue_behind(member, owned, problem.last)\n",
        "blockages",
    ),
    _stream(
        "metadata of another version is read as if it were of this one",
        "commit_metadata",
        "    if len(fields) != _FIELDS or fields[0] != _VERSION:\n",
        "    if len(fields) != _FIELDS:\n",
        "metadata_recordings",
    ),
    _stream(
        "a send is authorized without a lease",
        "owned_partition",
        '        if not self._lease.holds(self.generation):\n            raise LeaseLost(f"{self.partition} may',
        '        if False:\n            raise LeaseLost(f"{self.partition} may',
        "owned_partition",
    ),
    _stream(
        "the last commit forgets what was in doubt at the take-over",
        "partition_state",
        "        doubts = max(self._sent_until, self._possibly_sent_until if committable <"
        " self._possibly_sent_until else 0)\n",
        "        doubts = self._sent_until\n",
        "partition_state",
    ),
    _stream(
        "a reservation shrinks while sends go on",
        "partition_state",
        "return max(doubts, wanted, self._reserved_until)",
        "return max(doubts, wanted)",
        "partition_state",
    ),
    _stream(
        "what is about to be handled is not reserved ahead",
        "partition_state",
        "wanted = self._requested_until + self._ahead if self._requested_until else 0",
        "wanted = self._requested_until",
        "partition_state",
    ),
    _stream(
        "a reservation of another fingerprint is believed",
        "recovery",
        "reserved_until=metadata.reserved_until if same_fingerprint and same_owner else 0,",
        "reserved_until=metadata.reserved_until if same_owner else 0,",
        "recovery",
    ),
    _stream(
        "a reservation of another owner is believed",
        "recovery",
        "reserved_until=metadata.reserved_until if same_fingerprint and same_owner else 0,",
        "reserved_until=metadata.reserved_until if same_fingerprint else 0,",
        "recovery",
    ),
    _stream(
        "an earlier owner's change of the fingerprint is forgotten",
        "recovery",
        "other_fingerprint_until=metadata.other_fingerprint_until if same_fingerprint else metadata.reserved_until,",
        "other_fingerprint_until=metadata.other_fingerprint_until,",
        "recovery",
    ),
    _stream(
        "a process believes its own sends after another owner",
        "recovery",
        "    if own is None or metadata.owner != owner or own.topic_id != log.topic_id:\n",
        "    if own is None or own.topic_id != log.topic_id:\n",
        "recovery",
    ),
    _stream(
        "a lost commit of a known group counts as nothing sent",
        "recovery",
        "    if had_producer:\n",
        "    if False:\n",
        "recovery",
    ),
    _stream(
        "commit metadata of another cluster is believed",
        "commit_metadata",
        '    if fields[1] != quote(cluster_id, safe=""):\n',
        "    if False:\n",
        "commit_metadata",
    ),
    _stream(
        "commit metadata whose offset was moved is believed",
        "commit_metadata",
        "    if metadata.committed != committed:\n",
        "    if False:\n",
        "commit_metadata",
    ),
    _kafka(
        "the lease counts from the answer",
        "lease",
        "                self.prove(sent, generation)\n",
        "                self.prove(self._clock(), generation)\n",
        "lease",
    ),
    _kafka(
        "a heartbeat answered with an error proves the lease",
        "lease",
        "isinstance(request, _PROOFS) and response.error_code == _NO_ERROR",
        "isinstance(request, _PROOFS)",
        "lease",
    ),
    _stream(
        "the lease is not checked again before a partition's state is built",
        "partition_manager",
        "            offset_range = await member.offset_range(partition)\n"
        "            _require_lease(member, generation)\n",
        "            offset_range = await member.offset_range(partition)\n",
        "engine_protections",
    ),
    _stream(
        "a new producer is started without proof of membership",
        "partition_manager",
        "            self._begin_take_over(partition, proven_after=self._require_member().lease.clock())",
        "            self._begin_take_over(partition)",
        "engine_protections",
    ),
    _stream(
        "the fence's time is taken before the fence",
        "partition_manager",
        "        producer = await member.start_producer(partition)\n        try:\n"
        "            fenced_at = self._now()\n",
        "        fenced_at = self._now()\n        producer = await member.start_producer(partition)\n        try:\n",
        "engine_protections",
    ),
    _stream(
        "a batch from before a take-over is taken",
        "engine",
        "            if assignment_epoch != self._partitions.assignment_epoch:\n",
        "            if batches is None:\n",
        "engine_protections",
    ),
    _stream(
        "what follows a handed-off record in its lane does not count as possibly sent",
        "scheduler",
        "            for follower in self._lanes.behind(item.lane, item):\n"
        "                self._mark_possibly_sent(follower)\n",
        "",
        "engine_records",
    ),
    _stream(
        "what enters a lane after a hand-off does not count as possibly sent",
        "scheduler",
        "        follows_handed_off = prepared.lane in self._handed_off_lanes and not resumes\n",
        "        follows_handed_off = False\n",
        "engine_bulkheads",
    ),
    _stream(
        "the successor of a call that ended late does not count as possibly sent",
        "scheduler",
        "        if sent:\n            successor.possibly_sent_since = self._now()\n",
        "",
        "engine_protections",
    ),
    _stream(
        "a record is handled while its old task is on the wire",
        "scheduler",
        "            earlier.successor = item\n            item.awaits_predecessor = True\n",
        "            earlier.successor = item\n",
        "engine_protections",
    ),
    _stream(
        "a send that lost its lease is forgotten",
        "scheduler",
        "            if item.send_began:\n                item.possibly_sent_since = self._now()\n",
        "",
        "engine_trouble",
        "engine_records",
    ),
    _stream(
        "an outcome is kept for another record of the same offset",
        "revoked_work",
        "        if kept is None or kept.record != item.record:\n",
        "        if kept is None:\n",
        "revoked_work",
    ),
    _stream(
        "a committed offset passes open records",
        "ledger",
        "        committable = next((offset for offset in self._open if offset not in settling), frontier)\n",
        "        committable = frontier\n",
        "ledger",
    ),
    _stream(
        "a reservation waits for a lingering commit",
        "commit_linger",
        "    if demand.reservation or demand.release:\n",
        "    if demand.release:\n",
        "commit_linger",
    ),
    _stream(
        "a revocation does not cut the linger",
        "owned_partition",
        "        self._sends_allowed = False\n        self.stop_handlers()\n",
        "        self._sends_allowed = False\n        self.working = False\n",
        "commit_linger",
    ),
    _stream(
        "a stop does not cut the linger",
        "owned_partition",
        "        self.working = False\n        self.request_commit()\n",
        "        self.working = False\n",
        "commit_linger",
    ),
    _stream(
        "what ends during a release lingers",
        "commit_linger",
        "    if demand.reservation or demand.release:\n",
        "    if demand.reservation:\n",
        "commit_linger",
    ),
    _stream(
        "reading stops until a linger is over",
        "commit_linger",
        "2 * demand.open_records >= demand.max_open or ",
        "",
        "commit_linger",
    ),
    _stream(
        "records are settled before their transaction",
        "committer",
        "            produced = await self._publish(owned, batch)\n",
        "            self._settle(owned, batch, 0)\n            produced = await self._publish(owned, batch)\n",
        "engine_trouble",
    ),
    _stream(
        "a bulkhead takes the last slot",
        "bulkheads",
        "        return free > 1 and bulkhead.running < SLOTS_PER_FREE * free\n",
        "        return free > 0\n",
        "bulkheads",
    ),
    _stream(
        "a bulkhead that started a record stays first",
        "bulkheads",
        "                del self._start_order[key]\n                self._remove_admitted",
        "                self._remove_admitted",
        "bulkheads",
    ),
    _stream(
        "one bulkhead uses the whole capacity",
        "bulkheads",
        "        return len(bulkhead.admitted) < self._capacity - self._admitted\n",
        "        return True\n",
        "bulkheads",
    ),
    _stream(
        "a full delay queue stops reading for good",
        "engine",
        "        self._scheduler.hand_off_blocking(owned, self._lag.get(owned.partition, 0))\n",
        "",
        "engine_bulkheads",
    ),
    _stream(
        "waiting records are moved without a pause",
        "hand_off_quota",
        "        self._left -= count\n",
        "",
        "hand_off_quota",
    ),
    _kafka(
        "another deployment's members are taken for replicas",
        "group_members",
        "if others := [member for member in known if member.client_id != client_id]:",
        "if others := [member for member in known if not member.client_id]:",
        "group_members",
        "/app",
    ),
    Mutation(
        name="app: the start joins groups that another deployment is in",
        file="adapter/app.py",
        old="        for check in (self._broker_obstacle, self._group_obstacle, self._hold_obstacle):\n",
        new="        for check in (self._broker_obstacle, self._hold_obstacle):\n",
        tests=("tests/test_app.py",),
    ),
    Mutation(
        name="app: the start submits before it knows which merchants are held",
        file="adapter/app.py",
        old="        for check in (self._broker_obstacle, self._group_obstacle, self._hold_obstacle):\n",
        new="        for check in (self._broker_obstacle, self._group_obstacle):\n",
        tests=("tests/test_app.py",),
    ),
    _kafka(
        "snappy inflates without a limit",
        "compression",
        "    if cramjam.snappy.decompress_raw_len(block) > limit:\n",
        "    if False:\n",
        "compression",
    ),
    # --- issuance: what is believed, and what is sent again ----------------------------------------------------------
    _issuance(
        "the second query may precede the liveness proof",
        "evidence",
        "            and self.accepted_at <= answer.queried_at <= first.queried_at + WINDOW\n",
        "            and answer.queried_at <= first.queried_at + WINDOW\n",
        "evidence",
    ),
    _issuance(
        "the second query may come at any time",
        "evidence",
        "            and self.accepted_at <= answer.queried_at <= first.queried_at + WINDOW\n",
        "            and self.accepted_at <= answer.queried_at\n",
        "evidence",
    ),
    _issuance(
        "a liveness proof from before the first answer counts",
        "evidence",
        "or at < self.first.answered_at:",
        "or at < self.first.queried_at:",
        "evidence",
    ),
    _issuance(
        "two different codes are one answer",
        "evidence",
        "            and answer.code == first.code\n",
        "",
        "evidence",
    ),
    _issuance(
        "a control query of any age counts",
        "evidence",
        "if self.control is None or abs(latest.queried_at - self.control.queried_at) > WINDOW:",
        "if self.control is None:",
        "evidence",
    ),
    _issuance(
        "no liveness proof is needed",
        "evidence",
        "        if self.accepted_at is None:\n            return EvidenceStep.LIVENESS\n",
        "",
        "evidence",
    ),
    _issuance(
        "a query from before the waiting time's end counts",
        "evidence",
        "        if self.second is None or self.first is None or self.first.queried_at < ready_at:\n",
        "        if self.second is None or self.first is None:\n",
        "evidence",
    ),
    _issuance(
        "evidence survives a new doubt",
        "decide",
        "return replace(state.moved(Phase.IN_DOUBT), history=history, evidence=Evidence())",
        "return replace(state.moved(Phase.IN_DOUBT), history=history)",
        "decide",
        "doubt",
    ),
    _issuance(
        "a refusal is final after the time for sending again",
        "decide",
        "policy.refusal_final_after_seconds if refusal else policy.reissue_after_seconds",
        "policy.reissue_after_seconds",
        "decide",
        "doubt",
    ),
    _issuance(
        "an ECTicket that knows a random number is believed",
        "decide",
        "    if state.history.control_known:\n",
        "    if False:\n",
        "decide",
        "doubt",
    ),
    _issuance(
        "a refused part is sent again",
        "decide",
        "    if refusal is None:\n        return Send()\n",
        "    if True:\n        return Send()\n",
        "decide",
    ),
    _issuance(
        "what may have been sent is given up as never sent",
        "decide",
        "ParkReason.UNRESOLVED if state.possibly_sent else ParkReason.GAVE_UP",
        "ParkReason.GAVE_UP",
        "decide",
        "doubt",
    ),
    _issuance(
        "a locked-out order is deferred for a minute only",
        "decide",
        "    return max(soonest, min(useful, later(now, LONGEST_DEFERRAL_SECONDS)))\n",
        "    return soonest\n",
        "decide",
    ),
    _issuance(
        "a deferral has no end",
        "decide",
        "    return max(soonest, min(useful, later(now, LONGEST_DEFERRAL_SECONDS)))\n",
        "    return max(soonest, useful)\n",
        "decide",
    ),
    _issuance(
        "one answer during an outage of queries opens an order of several parts",
        "next_step",
        "    return unsent and state.history.phase is Phase.PLANNED and state.evidence.second is None\n",
        "    return unsent and state.history.phase is Phase.PLANNED and state.evidence.first is None\n",
        "next_step",
    ),
    _issuance(
        "parts of an order that was issued before are sent",
        "next_step",
        "return [_left_unsent(step, states, reason) if isinstance(step.action, Send) else step for step in steps]",
        "return steps",
        "next_step",
    ),
    _issuance(
        "a part is sent beside one that another plan may have sent",
        "next_step",
        "    if unverified.plan_may_differ and may_exist:\n",
        "    if False:\n",
        "next_step",
    ),
    # --- flows: what is honoured, published and remembered -----------------------------------------------------------
    _issuance(
        "an issuance may be queried first after it is delayed",
        "job_times",
        "return min(max(self._policy.first_query_seconds, seconds), self._policy.longest_first_query_seconds)\n",
        "return max(self._policy.first_query_seconds, seconds)\n",
        "job_times",
    ),
    _flows(
        "an order whose plan was lost is sent again",
        "messages/record_history",
        "    return is_claimed or any(_is_reissued(plan) for plan in plans)\n",
        "    return False\n",
        "lost_plans",
    ),
    _flows(
        "a confirmation without a valid signature is queried and published",
        "confirm",
        "        if verified.valid:\n"
        "            pending = self._pending(record, confirmation, verified)\n"
        "            return self._prepared",
        "        if True:\n"
        "            pending = self._pending(record, confirmation, verified)\n"
        "            return self._prepared",
        "confirm",
    ),
    _flows(
        "the dead letter of an unsigned confirmation is signed",
        "confirm",
        "            signer=self._signer if is_signed else None,\n",
        "            signer=self._signer,\n",
        "confirm",
    ),
    _flows(
        "a collection without a valid signature publishes tickets",
        "collect",
        "        if not verified.valid:\n",
        "        if False:\n",
        "collect",
    ),
    _flows(
        "headers without a signature are honoured",
        "messages/signatures",
        "        return self.trust is Trust.VALID\n",
        "        return self.trust is not Trust.INVALID\n",
        "forged_headers",
    ),
    _flows(
        "unsigned headers do not even count as possibly sent",
        "messages/record_history",
        "    return history.possibly_sent(max(moments, default=now))\n",
        "    return history\n",
        "forged_headers",
    ),
    _flows(
        "one merchant's keys sign another one's plan",
        "messages/signatures",
        "        if not self.valid or self.key is None or self.key.merchant_id in (None, merchant_id):\n",
        "        if True:\n",
        "messages/signatures",
    ),
    _flows(
        "the signature leaves the value out",
        "messages/signatures",
        " + _field(value) + len(own)",
        " + len(own)",
        "messages/signatures",
    ),
    _flows(
        "a number of another order is sent",
        "number_history",
        "        if orders is None or orders.owner == order_id:\n            return None\n",
        "        if True:\n            return None\n",
        "number_history",
        "two_orders_one_number",
    ),
    _flows(
        "a replay forgets that tickets may exist",
        "messages/record_history",
        "replays=self.replays + 1, not_before=None, held_at=None)",
        "replays=self.replays + 1, not_before=None, held_at=None, possibly_sent_at=None)",
        "messages/record_history",
        "/operations/replay",
    ),
    _flows(
        "a hold does not stop a call that waits for its turn",
        "submission",
        "            raise MerchantHeld(",
        "            MerchantHeld(",
        "holds",
    ),
    _flows(
        "a hold does not stop the next part of an order",
        "submission",
        "            return IssuingHeld(until=until)\n        if self",
        "            pass\n        if self",
        "holds",
    ),
    _flows(
        "a held order is planned at once",
        "submit",
        "        if until is None or task.plan is not None or possibly_sent:\n",
        "        if True:\n",
        "holds",
    ),
    _flows(
        "a possibly sent order of a held merchant is not queried",
        "submit",
        "        if until is None or task.plan is not None or possibly_sent:\n",
        "        if until is None or task.plan is not None:\n",
        "holds",
    ),
    _flows(
        "the give-up clock runs on while an order is held",
        "messages/record_history",
        "        held_seconds = max(0.0, (now - self.held_at).total_seconds())\n",
        "        held_seconds = 0.0\n",
        "holds",
    ),
    _issuance(
        "a held order is given up",
        "decide",
        "    if too_old and postponement.reason is not WaitReason.HELD:\n",
        "    if too_old:\n",
        "decide",
    ),
    _flows(
        "holds are in force before the topic was read completely",
        "holds",
        "                if batch.complete and (batch.records or not complete):\n",
        "                if True:\n",
        "holds",
    ),
    _flows(
        "a process that loses the brokers forgets its holds",
        "holds",
        "        self.problem, self.knowledge = problem, knowledge\n",
        "        self.problem, self.knowledge = problem, knowledge\n        self._holds.replace({})\n",
        "holds",
    ),
    _flows(
        "the end of a hold starts no waiting order",
        "holds",
        "        if ended:\n",
        "        if False:\n",
        "holds",
    ),
    _flows(
        "a deferred order forgets that it may have been sent",
        "order_outcomes",
        "            possibly_sent_at=plan.possibly_sent_at,\n",
        "            possibly_sent_at=None,\n",
        "submit",
        "submit_after_a_crash",
    ),
    _flows(
        "a deferred order is due a minute later, whatever it waits for",
        "order_outcomes",
        "        if due is None or due <= now:\n",
        "        if True:\n",
        "submit",
    ),
    _flows(
        "merchants share one bulkhead",
        "ports",
        "    return merchant_id if len(ids) > 1 else None",
        "    return None",
        "submit",
    ),
    _flows(
        "a number that queries once did not know is a liveness proof",
        "number_history",
        "            _add_newest(numbers.dropped, gone, DROPPED_KEPT, numbers.dropped)\n",
        "",
        "number_history",
    ),
    _flows(
        "an issued order is called invalid for its product",
        "submission",
        "            self._policy = replace(self._policy, query_first=QueryFirst.ALWAYS)\n",
        "            pass\n",
        "item_checks",
    ),
    _flows(
        "an order that may have been sent is rejected for its product",
        "submission",
        "        self._item_check_due = check_items is not None and never_sent\n",
        "        self._item_check_due = check_items is not None\n",
        "item_checks",
    ),
    _flows(
        "a replay is rejected by an answer about its product from before it",
        "item_checks",
        "            since = max(since, replayed_at)\n",
        "            pass\n",
        "item_checks",
    ),
    _flows(
        "a maintenance of QueryItemInfo makes products unknown",
        "item_lookup",
        "is_certain=proof.rtn_code == SUCCESS)\n",
        "is_certain=True)\n",
        "item_checks",
    ),
    _flows(
        "every order waits for a QueryItemInfo that fails",
        "item_information",
        "                self._pause(merchant.merchant_id, error.retry_at if isinstance(error, Throttled) else None)\n",
        "",
        "item_checks",
    ),
    # --- provider: what was sent, and whose turn it is ---------------------------------------------------------------
    _provider(
        "authorize_send is not called before the write",
        "exchange",
        "        self._authorize_send()\n",
        "",
        "transport",
        "client",
    ),
    _provider(
        "a request is written twice",
        "exchange",
        "        if self.at is not None:\n",
        "        if False:\n",
        "transport",
        "client",
    ),
    _provider(
        "a failed call closes a connection that another call uses",
        "asyncio_transport",
        "        if not response.complete:\n            self.close()\n",
        "        self.close()\n",
        "asyncio_transport",
    ),
    _provider(
        "an answer may come at any time",
        "asyncio_transport",
        "                response.fail(TimeoutError())\n",
        "                pass\n",
        "asyncio_transport",
    ),
    _provider(
        "only the first late answer is noticed",
        "asyncio_transport",
        "        self._fail_late_at(first_due)\n",
        "",
        "asyncio_transport",
    ),
    _provider(
        "an answer with another number is accepted",
        "client",
        "    if echoed == expected or (echoed is None and rtn_code != RTN_OK):\n",
        "    if True:\n",
        "client",
    ),
    _provider(
        "another status counts as refused before execution",
        "http_status",
        "    if answer.status not in defaults:\n        return None\n",
        "    if answer.status not in defaults:\n        return limits.busy_seconds\n",
        "http_status",
    ),
    _provider(
        "a Retry-After has no end",
        "http_status",
        "return defaults[HTTPStatus(answer.status)] if wait is None else min(wait, limits.max_retry_after_seconds)",
        "return defaults[HTTPStatus(answer.status)] if wait is None else wait",
        "http_status",
    ),
    _provider(
        "one order alone opens the breaker",
        "breaker",
        "        if self._suspects.setdefault(kind, subject) != subject:\n",
        "        if True:\n",
        "breaker",
    ),
    _provider(
        "a later lock-out shortens an earlier one",
        "breaker",
        "        self._open(until=until if self.state is BreakerState.CLOSED else max(until, self._until))\n",
        "        self._open(until=until)\n",
        "breaker",
    ),
    _provider(
        "a purpose saves up turns by sleeping",
        "call_limiter",
        "            self._virtual_times[purpose] = max(self._virtual_times[purpose], self._virtual_time)\n",
        "            pass\n",
        "call_limiter",
    ),
    _provider(
        "a call that was let in passes an open breaker",
        "client",
        "            channel.raise_if_breaker_open()\n",
        "",
        "breaking",
        "client",
    ),
    _provider(
        "refused queries for products stop all orders",
        "client",
        "        if call.endpoint in _STOPS_ORDERS:\n",
        "        if True:\n",
        "breaking",
    ),
    _provider(
        "a forbidden query for products stops all orders",
        "client",
        "isinstance(error, Throttled) and call.endpoint in _LOCKS_OUT:",
        "isinstance(error, Throttled):",
        "breaking",
    ),
    _flows(
        "products are queried during a lock-out",
        "item_information",
        "self._pause(merchant.merchant_id, error.retry_at if isinstance(error, Throttled) else None)",
        "self._pause(merchant.merchant_id)",
        "item_checks",
    ),
    _provider(
        "slow queries for products take every slot",
        "call_limiter",
        "        return self._free_slots > 0 and (purpose is not Purpose.ITEM or self._free_item_slots > 0)\n",
        "        return self._free_slots > 0\n",
        "fair_rate_limiter",
    ),
    # --- collecting: every ticket once, complete, and never a guess ---------------------------------------------------
    _issuance(
        "an issuance is collected before all its tickets are in the report",
        "collecting",
        "        if len(self._tickets) == self.awaited.ticket_count:\n",
        "        if self._tickets:\n",
        "collecting",
    ),
    _issuance(
        "more tickets than were issued are believed",
        "collecting",
        "        if len(self._tickets) + self._unusable > self.awaited.ticket_count:\n",
        "        if False:\n",
        "collecting",
    ),
    _issuance(
        "a number that stands in the report twice is believed",
        "collecting",
        "        owner = owners.get(text)\n",
        "        owner = None\n",
        "collecting",
    ),
    _issuance(
        "tickets of another issue type are believed",
        "collecting",
        "        if row.issue_type not in (None, self.awaited.issue_type):\n",
        "        if False:\n",
        "collecting",
    ),
    _issuance(
        "a serial number is published without its redemption code",
        "collecting",
        "        if self.awaited.issue_type is IssueType.SERIAL_NUMBER and row.write_off_no is None:\n",
        "        if False:\n",
        "collecting",
    ),
    _issuance(
        "a cell that cannot be read is published as empty",
        "collecting",
        "        return not any(cell.column is None or cell.column in PUBLISHED_COLUMNS for cell in row.unreadable)\n",
        "        return True\n",
        "collecting",
    ),
    _issuance(
        "an issuance is given up without a report",
        "collecting",
        "    if age >= policy.give_up_after_seconds and (incomplete is not None or progress.failed >= FAILED_MAX):\n",
        "    if age >= policy.give_up_after_seconds:\n",
        "collecting",
    ),
    _issuance(
        "an incomplete issuance waits for ever",
        "collecting",
        "    if age >= policy.give_up_after_seconds and (incomplete is not None or progress.failed >= FAILED_MAX):\n",
        "    if False:\n",
        "collecting",
    ),
    _issuance(
        "a recovered issuance is looked for on its last day only",
        "collecting",
        "        earlier = min(1 << min(reports, 8), MAX_EARLIER_DAYS) if self.recovered else 1\n",
        "        earlier = 1\n",
        "collecting",
    ),
    _issuance(
        "a report is requested for more days than ECPay allows",
        "collecting",
        "    return ReportDays(begin=begin, end=max(each.end for each in ordered if each.end <= last))\n",
        "    return ReportDays(begin=begin, end=max(each.end for each in ordered))\n",
        "collecting",
    ),
    _issuance(
        "a ticket shows its redemption code",
        "collecting",
        "    redemption_code: str | None = field(repr=False)\n",
        "    redemption_code: str | None\n",
        "collecting",
        "/flows/collect",
    ),
    _flows(
        "what waits is spread over the partitions",
        "messages/collection",
        "        key=collection.issuance.merchant_id.encode(),\n",
        "        key=collection.issuance.trade_no.encode(),\n",
        "collect",
    ),
    _flows(
        "an event about an issuance has another id each time",
        "messages/events",
        '    return fact_id(f"{merchant_id}/{trade_no}/{event.TYPE}")\n',
        "    return fact_id(str(datetime.now(UTC)))\n",
        "collect",
        "messages/events",
    ),
    _flows(
        "every issue type is collected",
        "collect",
        "        return BeginCollecting(collection=collection) if is_wanted else None\n",
        "        return BeginCollecting(collection=collection)\n",
        "collect",
    ),
    _flows(
        "a replayed issuance is given up at once",
        "collect",
        "                since=history.first_seen if history.replays else min(collection.since, now),\n",
        "                since=min(collection.since, now),\n",
        "collect",
    ),
    _flows(
        "handing off forgets how long an issuance has waited",
        "collect",
        "            since=progress.since, reports=progress.reports, not_before=due\n",
        "            since=now, reports=progress.reports, not_before=due\n",
        "collect",
    ),
    _flows(
        "handing off forgets the tickets that were found",
        "collect",
        "        ended = self._ended(record, subject)\n        if ended is not None:\n",
        "        ended = None\n        if ended is not None:\n",
        "collect",
    ),
    _flows(
        "an issuance is looked for in a report of other days",
        "report_rounds",
        "        covered = [each for each in waiting if days.covers(each.days(today))]\n",
        "        covered = waiting\n",
        "collect",
    ),
    _flows(
        "a report without the column of redemption codes is believed",
        "report_rounds",
        "    rows.require(*NUMBER_COLUMNS)\n",
        "",
        "bad_reports",
    ),
    _flows(
        "each issuance reads a report of its own",
        "report_rounds",
        "        async with merchant.lock:\n            if not self._is_due(pending):\n                return None\n",
        "        async with asyncio.Lock():\n",
        "collect",
    ),
    _flows(
        "the confirm stage takes what is to be collected",
        "messages/collection",
        "    return is_collection(record.value) or is_issued_event(record)\n",
        "    return False\n",
        "collect",
    ),
    # --- reconciling: each difference once, and never too early -------------------------------------------------------
    _issuance(
        "what the report cannot know yet is a difference",
        "reconciliation",
        "    if published.learned_at > days.requested_at:\n        return NotYet(until=None)\n",
        "",
        "reconciliation",
    ),
    _issuance(
        "a running job is a difference",
        "reconciliation",
        "    if awaits_result and days.requested_at < submitted_at + policy.result_within:\n",
        "    if False:\n",
        "reconciliation",
    ),
    _issuance(
        "a young event is judged",
        "reconciliation",
        "    return NotYet(until=ready_at) if days.requested_at < ready_at else None\n",
        "    return None\n",
        "reconciliation",
    ),
    _issuance(
        "a young row of the report is judged",
        "reconciliation",
        "        if days.requested_at < ready_at:\n            return NotYet(until=ready_at)\n",
        "",
        "reconciliation",
    ),
    _issuance(
        "numbers of other programs are differences",
        "reconciliation",
        "    if any(number.startswith(prefix.upper()) for prefix in policy.ignore_prefixes):\n",
        "    if False:\n",
        "reconciliation",
    ),
    _issuance(
        "a prefix accepts only numbers of its own case",
        "reconciliation",
        "    if any(number.startswith(prefix.upper()) for prefix in policy.ignore_prefixes):\n",
        "    if any(reported.trade_no.value.startswith(prefix) for prefix in policy.ignore_prefixes):\n",
        "reconciliation",
        "/flows/reconcile",
    ),
    _issuance(
        "issuances of other days are compared",
        "reconciliation",
        "    return reported is not None if day is None else days.first <= day <= days.last\n",
        "    return True\n",
        "reconciliation",
    ),
    _issuance(
        "a failed issuance that the report lacks is a difference",
        "reconciliation",
        "    if published.state is PublishedState.FAILED:\n        return None\n",
        "",
        "reconciliation",
    ),
    _issuance(
        "a repeated row of the report counts twice",
        "reconciliation",
        "            counts[row.ticket_trade_no] = _larger(counts.get(row.ticket_trade_no, 0), row.ticket_count)\n",
        "            counts[str(len(counts))] = row.ticket_count\n",
        "reconciliation",
    ),
    _flows(
        "a published difference is published again",
        "reconciliation_table",
        "                is_new = judgement.kind.value not in {row[3] for row in rows if row[1] == _KNOWN}\n",
        "                is_new = True\n",
        "reconcile",
    ),
    _flows(
        "what is compared is not sorted",
        "reconciliation_table",
        "SELECT * FROM fact ORDER BY number, side",
        "SELECT * FROM fact",
        "report_properties",
    ),
    _flows(
        "upper and lower case are different numbers",
        "reconciliation_table",
        '    return f"{_KINDS.index(trade_no.kind)}{trade_no.value.upper()}"\n',
        '    return f"{_KINDS.index(trade_no.kind)}{trade_no.value}"\n',
        "report_properties",
    ),
    _flows(
        "a completed period is completed again",
        "reconcile",
        "                is_new = reconciliation_event_id(completed) not in completed_ids\n",
        "                is_new = True\n",
        "reconcile",
    ),
    _flows(
        "what was published is read before the fence",
        "reconcile",
        "        async with writing as writer:\n"
        "            completed_ids = await self._add_known(table, merchant_id, period)\n",
        "        completed_ids = await self._add_known(table, merchant_id, period)\n"
        "        async with writing as writer:\n",
        "reconcile",
    ),
    _flows(
        "young numbers are published before they are compared again",
        "reconcile",
        "            is_final = not may_wait or counts.not_yet_until is None\n",
        "            is_final = True\n",
        "reconcile",
    ),
    _flows(
        "a recovered issuance of an earlier day is a difference",
        "reconcile",
        "        return reply.rtn_code != RTN_OK\n",
        "        return True\n",
        "reconcile",
    ),
    _flows(
        "a recovered issuance is judged without an answer",
        "reconcile",
        "            counts.not_yet += 1\n            return False\n",
        "            return True\n",
        "reconcile",
    ),
    _flows(
        "the events are read before the report",
        "reconcile",
        "        findings = await self._add_report(table, merchant, request)\n"
        "        await self._add_events(table, merchant_id, period)\n",
        "        await self._add_events(table, merchant_id, period)\n"
        "        findings = await self._add_report(table, merchant, request)\n",
        "reconcile",
    ),
    _flows(
        "the report counts as requested when it has arrived",
        "reconcile",
        "        findings = await self._add_report(table, merchant, request)\n",
        "        findings = await self._add_report(table, merchant, request)\n"
        "        days = ReconciledDays(first=period.first, last=period.last, requested_at=self.now())\n",
        "reconcile",
    ),
    _flows(
        "the report has the compared days only",
        "reconcile",
        "REPORT_MARGIN: Final = timedelta(days=1)\n",
        "REPORT_MARGIN: Final = timedelta(0)\n",
        "reconcile",
    ),
    _flows(
        "events from before the first day are not read",
        "reconcile",
        "EVENTS_MARGIN: Final = timedelta(days=2)\n",
        "EVENTS_MARGIN: Final = timedelta(0)\n",
        "reconcile",
    ),
    _flows(
        "days are not repeated",
        "reconcile",
        "        return cls(first=day - timedelta(days=days), last=day)\n",
        "        return cls(first=day, last=day)\n",
        "reconcile",
        "reconcile_stage",
    ),
    _flows(
        "a report that cannot be compared is compared",
        "reconcile",
        "    rows.require(*REQUIRED_COLUMNS)\n",
        "",
        "reconcile",
    ),
    _flows(
        "another merchant's events are compared",
        "reconcile",
        '                if (record.key or b"").startswith(prefix):\n                    batch.append(record)\n'
        "                if len(batch) >= BATCH:\n                    await _in_thread(table, _add_records",
        "                if True:\n                    batch.append(record)\n"
        "                if len(batch) >= BATCH:\n                    await _in_thread(table, _add_records",
        "reconcile",
    ),
    _flows(
        "the id of a difference changes with its time",
        "messages/events",
        '        fact = f"{data.merchant_id}/{data.issue_date}/{number}/{data.kind}/{data.TYPE}"\n',
        '        fact = f"{uuid.uuid4()}"\n',
        "reconcile",
        "messages/events",
    ),
    _flows(
        "every process reconciles every merchant",
        "reconcile_stage",
        "for each in self._merchants.ids if partitions and partition_of(each, partitions) in assigned\n",
        "for each in self._merchants.ids if partitions\n",
        "reconcile_stage",
    ),
    _flows(
        "a process that lost a merchant continues to reconcile it",
        "reconcile_stage",
        "                if merchant_id not in self._mine:\n",
        "                if False:\n",
        "reconcile_stage",
    ),
    _flows(
        "a completed period is compared again by the next process",
        "reconcile_stage",
        "            if await self._reconciler.is_completed(merchant_id, period):\n",
        "            if False:\n",
        "reconcile_stage",
    ),
    _flows(
        "the day of a run is UTC's",
        "reconcile_stage",
        "        local = now.astimezone(TAIPEI)\n",
        "        local = now\n",
        "reconcile_stage",
    ),
    _issuance(
        "the issue date is UTC's",
        "reconciliation",
        "        return taipei_day(reported.issued_at)\n",
        "        return reported.issued_at.date()\n",
        "reconciliation",
        "/flows/reconcile",
    ),
    # --- reports: one per minute, whole, and of this merchant ---------------------------------------------------------
    _provider(
        "users of a process download at once",
        "report_source",
        "            async with turns.lock:\n",
        "            async with asyncio.Lock():\n",
        "report_source",
    ),
    _provider(
        "a report follows the last one at once",
        "report_source",
        "                while (left := turns.free_at - self._clock.steady()) > 0:\n",
        "                while (left := 0.0) > 0:\n",
        "report_source",
    ),
    _provider(
        "a report that ends with its connection is whole",
        "client",
        "            if not framed and not report_download.ends_with_line:\n",
        "            if False:\n",
        "reports",
    ),
    _provider(
        "a report whose gzip is cut short is whole",
        "exchange",
        "    if inflater is not None and not inflater.eof:\n",
        "    if False:\n",
        "reports",
    ),
    _issuance(
        "a redemption code that may be cut off is published",
        "collecting",
        "            return TicketsUnconfirmed(tickets=tickets) if is_open else TicketsComplete(tickets=tickets)\n",
        "            return TicketsComplete(tickets=tickets)\n",
        "/flows/bad_reports",
    ),
    _issuance(
        "a last line without an end is given up",
        "collecting",
        "    incomplete = result if isinstance(result, TicketsIncomplete) else None\n",
        "    incomplete = None if isinstance(result, TicketsComplete) else result\n",
        "/flows/bad_reports",
    ),
    _flows(
        "a number in an unreadable row of the report is a difference",
        "reconcile",
        "            all_read = findings.unreadable == 0\n",
        "            all_read = True\n",
        "bad_reports",
    ),
    _provider(
        "a second member of a report's gzip is lost",
        "exchange",
        "            rest = inflater.unconsumed_tail or inflater.unused_data\n",
        "            rest = inflater.unconsumed_tail\n",
        "reports",
    ),
    _protocol(
        "a report that was cut off is whole",
        "report_csv",
        "                if self._table.cut_off:\n",
        "                if False:\n",
        "order_detail",
    ),
    _protocol(
        "another merchant's report is read",
        "report_csv",
        '            if _unguarded(cells[index].strip()) not in ("", self._merchant_id):\n',
        "            if False:\n",
        "order_detail",
    ),
    _protocol(
        "a number that lost a character is read",
        "report_csv",
        "    return None if _REPLACEMENT in text else text\n",
        "    return text\n",
        "order_detail",
    ),
    # --- hostile senders ------------------------------------------------------------------------------------------
    _provider(
        "what is around an answer's body has no limit",
        "asyncio_transport",
        "        elif self._received > MAX_HEAD_BYTES + FRAMING_PER_BODY_BYTE * response.body_bytes:\n",
        "        elif False:\n",
        "hostile_answers",
    ),
    _provider(
        "an answer has as many headers as it likes",
        "asyncio_transport",
        "        if self._headers > MAX_HEADERS:\n",
        "        if False:\n",
        "hostile_answers",
    ),
    _web(
        "a full server keeps every silent client",
        "connection_slots",
        "            if not self._waiting:\n",
        "            if True:\n",
        "connection_slots",
    ),
    _web(
        "a server has as many connections as come",
        "connection_slots",
        "        while len(self._open) >= self._count:\n",
        "        while False:\n",
        "connection_slots",
    ),
    _web(
        "one address displaces the connections of all others",
        "connection_slots",
        "        peers = max(self._waiting.values(), key=len)\n",
        "        peers = next(iter(self._waiting.values()))\n",
        "connection_slots",
    ),
    _web(
        "a newcomer displaces a connection before what has come is read",
        "connection_limits",
        "        return bool(unread.poll(0))\n",
        "        return False\n",
        "hostile_connections",
    ),
    _web(
        "bytes that come one by one keep a slot",
        "connection_slots",
        "            if passed_over == PASSED_OVER_AT_MOST or not holder.is_unread():\n",
        "            if not holder.is_unread():\n",
        "connection_slots",
    ),
    _web(
        "requests wait in a row on one connection",
        "connection_limits",
        "        if unanswered is not None and not unanswered.response_complete:\n",
        "        if False:\n",
        "callbacks",
    ),
    _web(
        "a request has as many headers as it likes",
        "connection_limits",
        "        if len(self.headers) >= self._limits.headers:\n",
        "        if False:\n",
        "callbacks",
    ),
    _web(
        "a request has as many chunks as it likes",
        "connection_limits",
        "        if self._chunks > self._limits.chunks:\n",
        "        if False:\n",
        "hostile_connections",
    ),
    _web(
        "a refused request keeps its slot while its answer waits",
        "callbacks",
        "        give_up_slot()\n",
        "        pass\n",
        "hostile_connections",
    ),
    _protocol(
        "a server does less work for a text with wrong padding",
        "envelope",
        "        if decrypted is None:\n            continue\n",
        "        if decrypted is None or not decrypted.padded:\n            continue\n",
        "padding_oracle",
    ),
    _protocol(
        "a text with wrong padding is believed",
        "envelope",
        "        if encoder is not None and decoded.whole and decrypted.padded:\n",
        "        if encoder is not None and decoded.whole:\n",
        "padding_oracle",
    ),
    _protocol(
        "a text with needless escapes counts as official",
        "encoding",
        "        official = len(data.translate(None, _UNRESERVED)) == escapes",
        "        official = True",
        "encoding",
    ),
    _protocol(
        "a broken escape is decoded",
        "encoding",
        "    if len(escaped) - len(data) != 2 * escapes:",
        "    if False:",
        "encoding",
    ),
    _protocol(
        "any text is signed as it was encrypted",
        "checksum",
        "        is_encoded = decoded.official and encoder is Encoder.ESCAPE_DATA_STRING\n",
        "        is_encoded = encoder is Encoder.ESCAPE_DATA_STRING\n",
        "checksum",
    ),
    _protocol(
        "a character on which encoders disagree is sent",
        "json_text",
        '(b"%%5Cu%04X" if chr(byte) in DISPUTED else b"%%%02X") % byte',
        'b"%%%02X" % byte',
        "json_text",
    ),
    _protocol(
        "a character that texts seldom have is sent as it is",
        "json_text",
        '    for byte in set(data.translate(None, _BARE + b"%")):\n',
        "    for byte in ():\n",
        "json_text",
    ),
    _protocol(
        "a message can end its field of an envelope",
        "envelope",
        '"TransMsg":{write_string(trans_msg)}',
        '"TransMsg":"{trans_msg}"',
        "envelope",
    ),
    _protocol(
        "a request of the usual form with a product twice passes at once",
        "rules",
        "    return 0 < len(entries) == len(items) and",
        "    return 0 < len(entries) and",
        "rules",
    ),
    _protocol(
        "a gift voucher under a MerchantTradeNo passes at once",
        "rules",
        " or entry.ticket_price is not None or entry.expire_date is not None:",
        " or entry.ticket_price is not None:",
        "rules",
    ),
    _protocol(
        "an order of too many tickets passes at once",
        "rules",
        " and tickets <= MAX_TICKETS[IssueType.ELECTRONIC]",
        "",
        "rules",
    ),
    _protocol(
        "any signed message is a notification",
        "notification",
        "    if payload.keys().isdisjoint(_ANY_OF):\n",
        "    if False:\n",
        "notification",
    ),
    _protocol(
        "an answer about an order is a notification",
        "notification",
        "    if not payload.keys().isdisjoint(_NONE_OF):\n",
        "    if False:\n",
        "notification",
    ),
    _flows(
        "a recorded notification is published for ever",
        "receive",
        "        if self._published.get(the_id, 0) >= MAX_PUBLICATIONS:\n",
        "        if False:\n",
        "receive",
    ),
)
