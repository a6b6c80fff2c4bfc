"""usp-demo: the whole suite on one machine, as real processes, for newcomers, tests and benchmarks.

It starts the daemons the way systemd would and imports none of them; what they learn, they learn from their
configuration files and over the REST API, like any installation.

    layout      where everything lies and which ports are used
    keys        the keys and certificates of a small installation
    target      an SFTP target to relay to: OpenSSH's sshd, or one on asyncssh
    processes   starting, watching and stopping processes
    setup       the configuration, made through the REST API, and the proof that a partner can log in
    main        the command line
"""
