"""The messages on the topics, written and read: events, order records, headers, confirmations and dead letters."""
