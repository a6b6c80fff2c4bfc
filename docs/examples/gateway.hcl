# A gateway with one server: partners log in with the password or key of their Account, and reach one SFTP target
# through the tunnel of a client inside. Keys are made by the manager on the first `usp apply -f gateway.hcl`.

# --- identities ---

ca_certificate "usp" {
  generate = {}
}

tls_certificate "manager" {
  generate = { ca = "usp" }
}

private_key "partners" {
  description = "What partners see as our host key"
  generate    = "ed25519"
}

private_key "tunnel" {
  generate = "ed25519"
}

private_key "target-login" {
  description = "Logs in at the target: usp get private-keys target-login shows what to put into its authorized_keys"
  generate    = "ed25519"
}

public_key "target" {
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl sftp.internal"
}

public_key "usp-client-1" {
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q usp-client-1"
}

# --- who may come in, and how ---

ip_filter "partners" {
  allow   = ["192.0.2.0/24", "2001:db8::/32"]
  default = "block"
}

account_repository "partners" {}

account "acme" {
  account_repository = "partners"
  username           = "acme"
  # Its password is set once with the API or the UI; what is not written here stays as it is.
}

rule "partners" {
  inbound_method       = "password_or_public_key"
  inbound_source       = "account_repository"
  account_repository   = "partners"
  outbound_credentials = "dedicated"
  username             = "gateway"
  private_key          = "target-login"
}

inbound_node "partners" {
  ip_filter = "partners"
  host_keys = ["partners"]
  rule      = "partners"
}

# --- where to ---

outbound_node "target" {
  host      = "sftp.internal"
  host_keys = ["target"]
}

route "partners" {
  inbound_nodes  = ["partners"]
  outbound_nodes = ["target"]
}

# --- on which machine ---

proxy_server "usp-server-1" {
  host            = "usp-server-1.dmz.example"
  ca_certificate  = "usp"
  tls_certificate = "manager"
}

tunnel "usp-server-1" {
  proxy_server = "usp-server-1"
  port         = 2200
  private_key  = "tunnel"
}

proxy_client "usp-client-1" {
  tunnel     = "usp-server-1"
  public_key = "usp-client-1"
}

listener "partners" {
  port                  = 2222
  route                 = "partners"
  default_outbound_node = "target"
}

deployment "partners-on-usp-server-1" {
  listener     = "partners"
  proxy_server = "usp-server-1"
  tunnel       = "usp-server-1"
  proxy_client = "usp-client-1"
}
