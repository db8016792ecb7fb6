"""`make apiserver-test`: submits all that the chart renders to a real API server, as a dry run.

A server-side dry run goes through admission and validation and stores nothing, so it may run on any cluster that the
current kubectl context names. Kinds that the cluster does not know, because their operator is not installed, are listed
and left out. Exit codes: 0 all accepted, 1 something rejected, 2 there is no kubectl or no cluster.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from helm.rendered_cases import CASES, objects_of

ACCEPTED, REJECTED, NO_CLUSTER = 0, 1, 2
_UNKNOWN_KIND = ("no matches for kind", "the server doesn't have a resource type", "ensure CRDs are installed first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API server answered about one object."""

    name: str
    state: str
    """`accepted`, `rejected` or `unknown-kind`."""
    message: str = ""


def everything() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of every part and example, with the name of where it comes from; the same object once."""
    seen = set()
    for case in CASES:
        for each in objects_of(case):
            text = json.dumps(each, sort_keys=True)
            if text not in seen:
                seen.add(text)
                yield case, each


def submit(each: dict[str, Any], source: str, *, namespace: str) -> Answer:
    """Submit one object to the current context's cluster, as a dry run."""
    each = copy.deepcopy(each)
    each["metadata"]["namespace"] = namespace
    done = _kubectl("apply", "--dry-run=server", "--filename=-", stdin=json.dumps(each))
    name = f"{source}: {each['kind']} {each['metadata']['name']}"
    if done.returncode == 0:
        return Answer(name=name, state="accepted")
    unknown = any(text in done.stderr for text in _UNKNOWN_KIND)
    return Answer(name=name, state="unknown-kind" if unknown else "rejected", message=done.stderr.strip())


def _kubectl(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--request-timeout=20s", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def cluster_problem() -> str | None:
    """Why no cluster can be used, or None."""
    try:
        done = _kubectl("get", "--raw", "/version")
    except FileNotFoundError:
        return "There is no kubectl on the PATH. Install it, or run this elsewhere."
    if done.returncode != 0:
        return f"kubectl reaches no cluster: {done.stderr.strip()} Choose a context with `kubectl config use-context`."
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit everything and print what was rejected or left out."""
    parser = argparse.ArgumentParser(prog="make apiserver-test", description=__doc__)
    parser.add_argument("--namespace", default="default", help="an existing namespace; nothing is stored in it")
    namespace: str = parser.parse_args(arguments).namespace
    problem = cluster_problem()
    if problem is not None:
        print(problem, file=sys.stderr)
        return NO_CLUSTER
    answers = [submit(each, source, namespace=namespace) for source, each in everything()]
    for each in answers:
        if each.state != "accepted":
            print(f"{each.state}: {each.name}: {each.message}")
    counts = {state: sum(each.state == state for each in answers) for state in ("accepted", "rejected", "unknown-kind")}
    print(", ".join(f"{number} {state}" for state, number in counts.items()))
    return REJECTED if counts["rejected"] else ACCEPTED


if __name__ == "__main__":
    sys.exit(main())
