"""`python -m lifecycle.other_version VERSION run`: a release whose commit metadata has another version."""

from __future__ import annotations

import sys

from adapter.cli import main
from adapter.stream import commit_metadata

if __name__ == "__main__":
    commit_metadata._VERSION = sys.argv.pop(1)
    raise SystemExit(main())
