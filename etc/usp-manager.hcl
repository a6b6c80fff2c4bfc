# usp-manager: web UI and REST API; keeps the configuration and pushes it to the servers.
# Every argument is here; those that are commented out show their default.
# Any argument may be overridden from the environment: USP_NAME, USP_ENCRYPTION__KEK, USP_DATABASE__PATH, ...
# `usp-manager -config FILE --check` says what is in effect, and what is wrong.

# Unique among the managers that share a database.
# name = "usp-manager"

# The key-encryption key: what opens the secrets in the database. The same on every manager. Keep a copy elsewhere.
# Make one with: openssl rand -base64 32
encryption {
  kek_source = "file" # "value" (the default): kek is the key itself; "file": kek is the path of a file with it
  kek        = "/opt/udmg/etc/kek"
}

database {
  # engine = "sqlite"
  # path   = "/opt/udmg/var/usp-manager.db"
}

# Web UI and REST API.
web {
  # address = "0.0.0.0"
  # port    = 8443

  tls {
    cert = "/opt/udmg/etc/tls/usp-manager.crt"
    key  = "/opt/udmg/etc/tls/usp-manager.key" # readable by its owner only
  }
}

# When logins of administrators end, in seconds.
login {
  # idle_timeout     = 1800.0
  # absolute_timeout = 43200.0
}

# Seconds between looks at the servers, and for a server to answer.
push {
  # interval = 1.0
  # timeout  = 10.0
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
