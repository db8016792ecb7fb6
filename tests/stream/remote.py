"""The other side of the tests: it keeps every sending for good, and accepts the same sending twice.

SQLite in WAL mode, so that processes which are killed at any moment cannot hurt it. A sending that arrives later than
`DEAD_AFTER_SECONDS` after it was sealed is refused, as ECPay refuses envelopes that are too old; this is decided by
the very statement that writes, so that a process stopped in between cannot get through.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

DEAD_AFTER_SECONDS = 1.0
REISSUE_AFTER_SECONDS = 2.0

_WRITE = """
INSERT INTO sendings (record, worker, possibly) SELECT ?, ?, ?
WHERE (julianday('now') - 2440587.5) * 86400.0 - ? < ?
"""


class Remote:
    """What was sent, by whom."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS sendings (record TEXT, worker TEXT, possibly INTEGER)")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_record ON sendings (record)")

    def send(self, record: str, worker: str, *, possibly: bool, sealed_at: float) -> bool:
        """Whether the sending arrived in time."""
        return self._db.execute(_WRITE, (record, worker, possibly, sealed_at, DEAD_AFTER_SECONDS)).rowcount == 1

    def knows(self, record: str) -> bool:
        return self._db.execute("SELECT 1 FROM sendings WHERE record = ? LIMIT 1", (record,)).fetchone() is not None

    def counts(self) -> Counter[str]:
        """How often each record was sent."""
        return Counter(dict(self._db.execute("SELECT record, count(*) FROM sendings GROUP BY record")))

    def sent_after_a_doubt(self) -> int:
        """How many sendings were made for records that were marked as possibly sent."""
        return int(self._db.execute("SELECT count(*) FROM sendings WHERE possibly").fetchone()[0])

    def close(self) -> None:
        self._db.close()
