"""docs/dependencies.md has a row for every dependency and no other; `make audit` is honest."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Mapping[str, list[str]] = PROJECT["optional-dependencies"]
SECTIONS = {"run time": PROJECT["dependencies"], **{f"`{name}`": needs for name, needs in EXTRAS.items()}}


def _names(requirements: list[str]) -> set[str]:
    """Without versions and without extras of the project's own."""
    names = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {name.group() for name in names if name} - {PROJECT["name"]}


def _rows(section: str) -> dict[str, list[str]]:
    (text,) = [part for part in PAGE.split("\n## ") if section in part.splitlines()[0]]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]
    return {row[0].strip("` "): row[1:] for row in cells}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_dependency_has_a_row_and_every_row_a_dependency(section: str) -> None:
    """With a reason, a keeper, and what to do if it ends."""
    rows = _rows(section)

    assert rows.keys() == _names(SECTIONS[section])
    assert all(len(row) == 3 and all(row) for row in rows.values()), rows


def test_every_dependency_is_pinned() -> None:
    """So `make audit` looks at it, and CI installs what was tested."""
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    }

    for requirements in SECTIONS.values():
        assert {name.lower().replace("_", "-") for name in _names(requirements)} <= pinned


def test_the_build_backend_is_pinned_to_the_tested_version() -> None:
    """pip builds in an environment of its own, for which constraints.txt does not count."""
    (requirement,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]

    assert requirement in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()


# -- make audit ----------------------------------------------------------------------------------------------------


class _Database:
    """An OSV database on loopback that knows one vulnerability of one package, or none."""

    def __init__(self) -> None:
        self.vulnerable: str | None = None
        self.asked: set[str] = set()
        database = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                query = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name = query["package"]["name"]
                database.asked.add(name.lower())
                body = json.dumps(database.answer(name)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/query"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, name: str) -> Mapping[str, object]:
        if name != self.vulnerable:
            return {}
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
        return {"vulns": [{"id": "PYSEC-1", "summary": "x", "details": "x", "affected": [affected]}]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def database() -> Iterator[_Database]:
    found = _Database()
    yield found
    found.close()


def _audit(url: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "audit", f"AUDIT_OPTIONS=--osv-url {url}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)


def test_an_audit_without_findings_asks_for_every_pinned_package(database: _Database) -> None:
    """And succeeds."""
    audit = _audit(database.url)

    assert audit.returncode == 0, audit.stderr
    assert len(database.asked) == len((ROOT / "constraints.txt").read_text(encoding="utf-8").split())


def test_an_audit_fails_for_a_vulnerability(database: _Database) -> None:
    """It is named."""
    database.vulnerable = "httptools"

    audit = _audit(database.url)

    assert audit.returncode != 0
    assert "PYSEC-1" in audit.stdout


def test_an_audit_fails_where_no_database_is_reached(database: _Database) -> None:
    """It never passes for want of an answer."""
    database.close()

    audit = _audit(database.url)

    assert audit.returncode != 0
    assert "not reached" in audit.stderr
