# usp-manager: web UI and REST API; keeps the configuration and pushes it to the servers.
# Every argument is here; those that are commented out show their default.
# Any argument may be overridden from the environment: USP_NAME, USP_ENCRYPTION__KEK, USP_DATABASE__PATH, ...
# `usp-manager -config FILE --check` says what is in effect, and what is wrong.

# Unique among the managers that share a database.
# name = "usp-manager"

# The key-encryption key: what opens the secrets in the database. The same on every manager. Keep a copy elsewhere.
# Make one with: openssl rand -base64 32
encryption {
  # "value" (the default): kek is the key itself; "file": the path of a file with it; "environment": the name of a
  # variable with it.
  kek_source = "file"
  kek        = "/opt/udmg/etc/kek"

  # To change the key: kek is the new one, and here is the old one until `usp-manager rotate-kek` has been run.
  # rotation {
  #   previous_kek_source = "file"
  #   previous_kek        = "/opt/udmg/etc/kek.old"
  # }
}

# Where everything is kept (docs/database.md). "sqlite" is a file for one manager; several managers share a "postgresql"
# or "oracle" database. The same on every manager.
database {
  # engine = "sqlite"

  # sqlite:
  # path = "/opt/udmg/var/usp-manager.db"

  # postgresql and oracle. Name or address of the server, or the directory of PostgreSQL's socket; several with commas.
  # host          = ""
  # port          = 0  # 0 = 5432 for PostgreSQL, 1521 or with TLS 2484 for Oracle
  # user          = ""
  # password_file = "" # readable by its owner only; or: password
  # tls is on, and the server's certificate is checked, unless the server is this machine; or: tls = false
  # ca                = "" # CA certificates to check with, PEM; "" = the system's
  # pool_size         = 5  # connections that are kept open
  # pool_overflow     = 10 # more of them, while they are needed
  # connect_timeout   = 5.0
  # statement_timeout = 15.0

  # postgresql:
  # name = "usp"

  # oracle. Either host and service_name, or a full connect descriptor.
  # service_name = ""
  # dsn          = ""
  # wallet       = "" # directory with ewallet.pem; its password: wallet_password
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

# A line above every page of the web UI, to tell production from a test system.
ui {
  # banner        = ""
  # banner_colour = "grey" # or "blue", "green", "amber", "red"
}

# Logins of administrators: when they end, what a password must have, how long those wait who fail too often.
# Where administrators may log in elsewhere: any number of OpenID providers (docs/administration.md).
# oidc "corporate" {
#   issuer             = "https://id.example.com/realms/corp"
#   client_id          = "usp"
#   client_secret_file = "/opt/udmg/etc/oidc-secret" # readable by its owner only; or client_secret
#   title              = "Example Corp"              # "Log in with ..."
#   admin_groups       = ["gateway-admins"]
#   read_only_groups   = ["gateway-readers"]
#   groups_claim       = "groups"
#   name_claim         = "preferred_username"
#   scopes             = ["openid", "profile", "email", "groups"]
#   ca                 = "" # of the provider's certificate; "" = those of the system
# }

login {
  # idle_timeout     = 1800.0  # seconds without a request
  # absolute_timeout = 43200.0 # seconds in any case
  # password_length  = 12      # characters at least, 8 to 128
  # failures         = 5       # wrong passwords of a user before a wait
  # address_failures = 20      # wrong logins from an address before a wait
  # lock_time        = 30.0    # seconds of the first wait; each failure after it doubles them
  # max_lock_time    = 900.0   # seconds of the longest wait
  # second_factor    = "optional" # who must have one: "optional" (nobody), "admins", "all"
}

# Seconds between looks at the servers, and for a server to answer.
push {
  # interval = 1.0
  # timeout  = 10.0
}

# The audit trail in the database (docs/audit.md).
events {
  # days                = 90 # to keep what servers tell of partners; 0 = forever
  # administration_days = 0  # to keep what administrators did; 0 = forever
  # insecure_webhooks = false # true: webhooks may use http, and addresses of this machine and its links
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
