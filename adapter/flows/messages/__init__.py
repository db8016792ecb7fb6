"""What is on the topics: events, order records, headers, confirmations and dead letters, in both directions."""
