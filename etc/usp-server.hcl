# usp-server: the gateway in the DMZ. Every argument is here; those that are commented out show their default.
# Any argument may be overridden from the environment: USP_NAME, USP_SERVER__IDLE_TIMEOUT, USP_WEB__TLS__CERT, ...
# `usp-server -config FILE --check` says what is in effect, and what is wrong.

# The name of this server's Proxy Server item in the manager.
name = "usp-server-1"

# Worker processes; 0 = one per CPU.
# workers = 0

# The management port, for managers only (mutual TLS): never reachable from outside.
web {
  # address = "0.0.0.0"
  # port    = 8444

  tls {
    cert = "/opt/udmg/etc/tls/usp-server.crt" # names usp://server/NAME as URI
    key  = "/opt/udmg/etc/tls/usp-server.key" # readable by its owner only
    ca   = "/opt/udmg/etc/tls/ca.crt"         # managers' certificates are checked with it
  }
}

# Limits of partner sessions. Times are in seconds.
server {
  # login_timeout    = 30.0
  # idle_timeout     = 900.0
  # max_session_time = 0.0 # however busy; 0 = any
  # connect_timeout  = 10.0 # to a target
  # drain_timeout    = 30.0 # for sessions to end at shutdown
  # upgrade_timeout  = 43200.0 # seconds for sessions to end after an upgrade in place (SIGUSR2)
  # max_sessions     = 5000
  # fast_path        = true # false = relay with stock asyncssh (slower)
  # sandbox          = true # workers give up this host's files (Landlock)
}

# What strangers may ask of this server, and what failures cost them (docs/defence.md). A source is an IPv4 address or an
# IPv6 /64; 0 = no limit. Behind a load balancer without PROXY protocol everybody has its address: exempt it.
limits {
  # connections_per_source     = 100
  # connections_per_listener   = 0
  # unauthenticated            = 200   # connections at once that are not logged in
  # unauthenticated_per_source = 50
  # sessions_per_account       = 0
  # failures                   = 5     # failed logins before a penalty
  # first_penalty              = 10.0  # seconds; every further failure doubles it
  # longest_penalty            = 900.0
  # forgive                    = 60.0  # seconds until one failure is forgotten
  # target_failures            = 2     # failed logins that a target sees before strangers are denied unasked
  # target_forgive             = 6.0   # seconds until one of them is forgotten (docs/targets.md)
  # exempt                     = []    # such as ["192.0.2.7/32"]
}

# When tunnel links are held for dead: interval seconds of silence, count times. Partners and targets, which may stand
# still for a while, after four times that.
keepalive {
  # interval = 5.0
  # count    = 3
}

log {
  # level       = "INFO" # TRACE, DEBUG, INFO, WARN or ERROR
  # path        = ""     # "" = standard output
  # format      = "text" # or "json"
  # max_size    = 100    # megabytes before the file is rotated; 0 = never
  # max_backups = 5      # rotated files to keep; 0 = all
  # max_age     = 0      # days to keep them; 0 = forever
}

# One JSON object per line: logins, files, sessions (docs/audit.md). Managers fetch and store them.
audit {
  # path  = "" # "" = standard output
  # spool = 16 # megabytes of lines that wait in memory for the managers; 0 = they get none

  # syslog { # RFC 5424 over TLS
  #   host     = "log.example.org"
  #   port     = 6514
  #   tls      = true     # false = plain TCP
  #   ca       = ""       # "" = the CAs of this machine
  #   cert     = ""       # of this server, if the syslog server wants one
  #   key      = ""
  #   facility = "local0" # auth, authpriv, ftp, or local0 to local7
  #   buffer   = 4        # megabytes that wait in memory while it is away
  # }
}

# /livez, /readyz and /metrics.
metrics {
  # address = "127.0.0.1"
  # port    = 0 # 0 = off
}

# OpenTelemetry: a span per session, its logins and files below it (docs/traces.md).
traces {
  # endpoint = "" # such as "https://collector:4318/v1/traces"; "" = no traces
  # ca       = "" # "" = the CAs of this machine
}

# What a load balancer may ask: HAProxy's agent checks (docs/haproxy.md). Reachable from load balancers only.
agent {
  # address = "127.0.0.1"
  # port    = 0       # 0 = off
  # drained = "maint" # what is said of a drained server; "drain" still lets in partners with a stick-table entry
  # notice  = 5.0     # seconds between telling load balancers of a drain and the first refusal
}
