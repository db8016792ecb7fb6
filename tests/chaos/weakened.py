"""`python -m chaos.weakened PROTECTION run`: the adapter with one protection switched off."""

from __future__ import annotations

import sys

from adapter.cli import main
from chaos.protections import PROTECTIONS

if __name__ == "__main__":
    PROTECTIONS[sys.argv.pop(1)].off()
    raise SystemExit(main())
