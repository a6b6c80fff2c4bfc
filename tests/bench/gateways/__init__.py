"""What usp-server and usp-client cost per byte, per login and per session, beside other gateways in the same run.

All gateways are up at once, in front of the same target, and take turns (A B A B), so that the machine's mood hits all
of them. What counts is a gateway's own CPU time (/proc/PID/stat, all its processes) and the ratio to a peer.

    process    CPU time and memory of processes, from /proc
    gateway    what is measured: where a partner comes in, and which processes do the work
    peers      OpenSSH direct, HAProxy, rclone, a Go relay: whatever is installed
    client     partners: OpenSSH's sftp, and a raw SFTP client over OpenSSH's ssh
    many       a process with many asyncssh sessions
    raw        their SFTP, packet by packet
    rows       what is measured
    run        one run, and its options
    report     medians and ratios, as Markdown and JSON
"""
