"""Plugins: which hooks there are, how plugins are found, checked and called, and how their failures are contained.

A plugin decides what an order buys and may observe outcomes; it never decides whether a request is sent. If a
plugin fails, that order goes to the dead letters; other orders are not affected.

    hookspecs        the hooks; the page that authors of plugins read
    hooks            the same hooks as a table for the code
    sinks            what a notification sink is, what it receives and what it may raise
    values           the values that hooks receive and return, besides those of `issuance`
    sources          where plugins come from
    validation       the rules that a plugin must follow
    plugin_settings  a plugin's own settings, checked against its model
    manager          all plugins of a process, in the order in which they are called
    type_check       whether an answer has the promised type, in all its fields
    counters         calls, failures and seconds of each hook, for metrics
    invocation       one call of one hook: counted, checked, described when it fails
    hook_time        which time counts against a budget
    bounded_threads  threads with time limits: for calls at start, for the hooks of orders, for a sink's loop
    order_hooks      the hook calls of one order: parse_order, accept_order, map_item, shape_issue
    hook_runner      what the flows use
    provided_sinks   the sinks of all plugins, checked
    log_fields       the fields of a log line about an event
    sink_thread      the thread and event loop on which a sink runs
    builtin          the adapter's own mapping, through the same hooks
    builtin_sinks    the adapter's own sinks, through the same hook

Does not import Kafka or the settings.
"""
