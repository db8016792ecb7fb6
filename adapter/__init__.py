"""ecticket-adapter: paid orders on Kafka become ECPay ECTicket tickets, exactly once."""
