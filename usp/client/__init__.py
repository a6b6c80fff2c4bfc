"""usp-client: the daemon in the LAN. It dials out to its usp-server and keeps the tunnel up.

main        the command: settings, health checks, draining at SIGTERM
tunnels     one link to each worker of the server, opened again when it is lost
allow       what may be dialled when the server asks: the allow list (pure)
forward     what the server asks for on a link becomes a TCP connection in the LAN
"""
