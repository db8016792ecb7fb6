"""`python -m adapter` is `ecticket-adapter`."""

from adapter.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
