"""Merchants' own code: which hooks there are, how plugins are found, checked, called and kept from doing harm.

A plugin decides what an order stands for and may look on; it never decides whether something is sent. Whatever it does
wrong costs its own order a dead letter and nobody else anything.

    hookspecs        the hooks, to be read by whoever writes a plugin
    hooks            the same as a table, to be read by the machine
    sinks            what a notification sink is, is handed and may raise
    values           what hooks are given and answer beyond the issuance's own words
    sources          where plugins come from
    validation       what a plugin may not be
    plugin_settings  a plugin's own settings, held against its model
    start_calls      what plugins do at start, within a time
    manager          all plugins of a process, in the order in which they are asked
    type_check       whether an answer is of the promised type, all the way down
    counters         calls, failures and seconds of each hook, for metrics
    invocation       one call of one hook: counted, checked, described when it fails
    hook_time        what counts against a time budget
    budgeted_workers worker threads with a time budget
    order_hooks      an order's way through accept_order, map_item and shape_issue
    hook_runner      what the flows use
    provided_sinks   the sinks of all plugins, checked
    daemon_executor  the threads that a sink has beside its own
    sink_thread      the thread and loop that a sink runs on
    builtin          the adapter's own mapping, through the same hooks
    builtin_sinks    the adapter's own sinks, likewise

The room refuses to know Kafka and settings; of HTTP only the webhook among the built-in sinks knows.
"""
