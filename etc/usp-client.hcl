# usp-client: in the LAN, connects out to a usp-server and dials the targets on its behalf.
# Every argument is here; those that are commented out show their default.
# Any argument may be overridden from the environment: USP_NAME, USP_TUNNEL__HOST, USP_ALLOW='["10.0.0.0/8:22"]', ...
# `usp-client -config FILE --check` says what is in effect, and what is wrong.

# The name of this client's Proxy Client item in the manager.
name = "usp-client-1"

# This client's private SSH key (readable by its owner only). Its public part is the Proxy Client's public key.
key = "/opt/udmg/etc/ssh/usp-client"

# What may be dialled: NETWORK:PORT, ADDRESS:PORT or NAME:PORT. Everything else is refused.
allow = ["10.0.0.0/8:22", "sftp.internal:22"]

# connect_timeout = 10.0 # seconds, to a target
# drain_timeout   = 30.0 # seconds for connections to end at shutdown
# fast_path       = true # false = relay with stock asyncssh (slower)
# sandbox         = true # it gives up this host's other files (Landlock)

# The Tunnel on the usp-server.
tunnel {
  host     = "usp-server.example.com"
  port     = 2022
  host_key = "/opt/udmg/etc/ssh/tunnel.pub" # or the line itself: "ssh-ed25519 AAAA..."
}

# When the link is held for dead: interval seconds of silence, count times.
keepalive {
  # interval = 5.0
  # count    = 3
}

# Seconds before connecting anew: doubled with every failure, between these two.
retry {
  # initial = 0.5
  # maximum = 2.0
}

log {
  # level       = "INFO" # TRACE, DEBUG, INFO, WARN or ERROR
  # path        = ""     # "" = standard output
  # format      = "text" # or "json"
  # max_size    = 100    # megabytes before the file is rotated; 0 = never
  # max_backups = 5      # rotated files to keep; 0 = all
  # max_age     = 0      # days to keep them; 0 = forever
}

# /livez, /readyz and /metrics.
metrics {
  # address = "127.0.0.1"
  # port    = 0 # 0 = off
}
