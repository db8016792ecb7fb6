"""The console: a read-only page about this process, the dead letters, and single orders (docs/console.md)."""
