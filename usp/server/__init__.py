"""usp-server: the daemon in the DMZ. The parent accepts, the child speaks.

Supervisor side (parses no SSH byte, never imports asyncssh):

    main        the command and the order of starting and stopping
    supervisor  the snapshot in force; two-phase apply; start, stop, report, drain
    control     the control API for managers, HTTPS with mutual TLS
    acceptor    listening sockets
    slots       worker processes, restarted in their slots, and the books about what they hold
    refusals    connections refused at accept, counted and told
    dispatch    which slot gets a connection, or none (pure)

Which sockets to open, keep and close is decided by `usp.plan`, which managers ask too. Between the two sides stand
`messages` (what is said, pure) and `ipc` (how it travels). On the worker side stand `worker` and what it imports;
nothing of it is imported here.
"""
