"""The rights on docs/operations/rights.md: enough for each role, none too many, and the same in the chart's example."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from acls.__main__ import trials_of, wrong_with
from acls.ground import open_ground
from acls.rights import KEDA, OPERATOR, PAGE, RUN, STAGES, Right, rights_by_role, without_kafka
from acls.trial import WORK, Result, Trial
from adapter.app import STAGES as STAGES_OF_ADAPTER

USERS = Path(__file__).parents[2] / "helm" / "examples" / "strimzi" / "kafka-users.yaml"
ROLE_OF_USER: Mapping[str, str] = {
    "ecticket-adapter": RUN,
    **{f"ecticket-{role}": role for role in (*STAGES, OPERATOR, KEDA)},
}
TAKEN_AWAY: Sequence[tuple[str, Right | None]] = (
    ("topics --create", None),
    (RUN, None),
    (OPERATOR, None),
    (KEDA, None),
    ("catalogue check", None),
    ("support-bundle", None),
    ("submit", Right(kind="transactional id", name="ecticket-adapter.submit.", prefixed=True, operation="Write")),
    ("deliver", Right(kind="group", name="ecticket-adapter.skips", prefixed=False, operation="Describe")),
    ("receive", Right(kind="topic", name="ecticket.tickets", prefixed=False, operation="Write")),
    (KEDA, Right(kind="group", name="ecticket-adapter.submit", prefixed=False, operation="Describe")),
)
"""What is tried here; `make acls` tries everything."""
TABLE = """
* `plugins`,
  `settings` and `query` do not connect to Kafka.

| resource | `a b` | `submit` | `confirm` | `collect` | `reconcile` | `deliver` | `receive` |
|---|---|---|---|---|---|---|---|
| topic `t` | Read, Write | | | | | | Describe |
| transactional id `g.*` | | Write | | | | | |

| reason | what |
|---|---|
| `x` | Read |
"""


@pytest.fixture(scope="module")
def page() -> Mapping[str, frozenset[Right]]:
    """The rights by role."""
    return rights_by_role(PAGE.read_text(encoding="utf-8"))


@pytest.mark.slow
async def test_roles_work_with_their_rights_and_not_without_one(
    page: Mapping[str, frozenset[Right]], local_kafka_ready: None, tmp_path: Path
) -> None:
    """From topics to tickets and a replayed dead letter, with a user for each role on a broker that checks rights."""
    turn = asyncio.Semaphore(3)
    async with open_ground(WORK) as ground:

        async def verdict(role: str, without: Right | None) -> str:
            async with turn:
                result = await Trial(ground, role, tmp_path).run([each for each in page[role] if each != without])
            return wrong_with(role, without, result)

        verdicts = await asyncio.gather(*(verdict(role, without) for role, without in TAKEN_AWAY))

    assert [verdict for verdict in verdicts if verdict] == []
    assert all(without in page[role] for role, without in TAKEN_AWAY if without is not None)


def test_every_role_of_the_page_has_work_to_try_it_with(page: Mapping[str, frozenset[Right]]) -> None:
    """And nothing is tried that the page does not name; the stages are those of the adapter."""
    assert set(page) == set(WORK)
    assert set(STAGES_OF_ADAPTER) == set(STAGES)


def test_every_right_is_taken_away_once(page: Mapping[str, frozenset[Right]]) -> None:
    """From the role that has it; those of `run` from the stages."""
    assert list(trials_of("submit", page["submit"])) == [None, *sorted(page["submit"])]
    assert list(trials_of(RUN, page[RUN])) == list(trials_of(OPERATOR, page[OPERATOR])) == [None]


def test_the_users_of_the_chart_have_the_rights_of_the_page(page: Mapping[str, frozenset[Right]]) -> None:
    """The same ones, in Strimzi's words; Describe is implied by Read and Write."""
    users = list(yaml.safe_load_all(USERS.read_text(encoding="utf-8")))

    assert {user["metadata"]["name"] for user in users} == set(ROLE_OF_USER)
    for user in users:
        role = ROLE_OF_USER[user["metadata"]["name"]]
        assert _without_implied(set(_rights(user))) == _without_implied(set(page[role])), role


def _rights(user: Mapping[str, Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]]]) -> list[Right]:
    found = []
    for acl in user["spec"]["authorization"]["acls"]:
        resource, operations = acl["resource"], acl["operations"]
        assert isinstance(resource, dict)
        assert isinstance(operations, list)
        kind = "transactional id" if resource["type"] == "transactionalId" else resource["type"]
        prefixed = {"literal": False, "prefix": True}[resource["patternType"]]
        found += [Right(kind=kind, name=resource["name"], prefixed=prefixed, operation=each) for each in operations]
    return found


def _without_implied(rights: set[Right]) -> set[Right]:
    strong = {(each.kind, each.name) for each in rights if each.operation in ("Read", "Write")}
    return {each for each in rights if each.operation != "Describe" or (each.kind, each.name) not in strong}


def test_tables_of_resources_are_read() -> None:
    """Cells are lists of operations, a star makes a prefix, and other tables are not for this."""
    found = rights_by_role(TABLE)

    topic_read = Right(kind="topic", name="t", prefixed=False, operation="Read")
    assert topic_read in found["a b"]
    assert len(found["a b"]) == 2
    assert found["submit"] == {Right(kind="transactional id", name="g.", prefixed=True, operation="Write")}
    assert len(found[RUN]) == 2
    assert found[OPERATOR] == found["a b"]


def test_commands_without_kafka_are_roles_without_rights() -> None:
    """They are tried with brokers that do not answer."""
    assert without_kafka(TABLE) == ("plugins", "settings", "query")
    assert rights_by_role(TABLE)["settings"] == frozenset()


@pytest.mark.parametrize(("good", "bad"), [("topic `t`", "topic t"), ("`a b`", "a b"), ("`g.*`", "`*`")])
def test_a_table_that_is_not_clear_is_refused(good: str, bad: str) -> None:
    """Rather than read as fewer rights."""
    with pytest.raises(ValueError, match="is not"):
        rights_by_role(TABLE.replace(good, bad))


@pytest.mark.parametrize(
    ("without", "result", "wrong"),
    [
        (None, Result(done=True, denied=frozenset(), output=""), False),
        (None, Result(done=False, denied=frozenset(), output=""), True),
        ("Read", Result(done=False, denied=frozenset({"READ on Topic t"}), output=""), False),
        ("Read", Result(done=True, denied=frozenset({"READ on Topic t"}), output=""), True),
        ("Read", Result(done=False, denied=frozenset(), output=""), True),
    ],
)
def test_a_role_must_work_and_a_right_must_be_needed(without: str | None, result: Result, wrong: bool) -> None:
    """A failure that the broker did not cause says nothing about the right."""
    right = None if without is None else Right(kind="topic", name="t", prefixed=False, operation=without)

    assert bool(wrong_with("submit", right, result)) is wrong
