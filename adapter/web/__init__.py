"""The adapter's HTTP servers: one for ECTicket's notifications, one for health, metrics and information."""
