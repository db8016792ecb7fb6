"""Records OpenTelemetry traces, by wrapping the parts of the adapter at their ports.

No other package knows about spans. Without traces nothing is wrapped and nothing of OpenTelemetry is imported: its API
alone takes a tenth of a second and some megabytes. `instruments` is what the app uses, `setup` decides whether traces
are recorded, and the other modules each wrap one port.

What a span may contain (docs/traces.md): names, counts, codes and times, the merchant, the order id and the trade
number. No customer data, key, ticket number or redemption code; of an exception only its type.
"""
