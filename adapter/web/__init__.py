"""The adapter's HTTP doors: one for ECTicket's notifications, one for those who look after the adapter."""
