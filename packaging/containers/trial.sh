#!/bin/sh
# A whole gateway in containers on this machine: makes keys, certificates and configuration in ./trial, starts the three
# daemons and a target, configures them, and prints how to log in. It needs what `make debs` made, OpenSSH's ssh-keygen,
# and docker or podman (COMPOSE="podman-compose"). Anew: `COMPOSE down -v`, and remove ./trial.
set -eu
umask 077
cd "$(dirname "$0")"
COMPOSE=${COMPOSE:-docker compose}
PATH=$(cd ../.. && pwd)/.venv/bin:$PATH
[ ! -e trial ] || { echo "trial: is there already: $COMPOSE down -v, and remove it" >&2; exit 1; }

mkdir -p trial/ca trial/manager trial/server trial/client trial/target
cd trial
usp pki init --dir ca >/dev/null
usp pki issue web usp-manager --dns usp-manager --dns localhost --ip 127.0.0.1 --dir ca --out manager >/dev/null
usp pki issue server usp-server --dir ca --out server >/dev/null
usp pki issue manager usp-manager --dir ca >/dev/null
cp ca/ca.crt server
cp ca/ca.crt manager
openssl rand -base64 32 >manager/kek
for key in host tunnel login client/client target/host; do
  ssh-keygen -q -t ed25519 -N '' -C "$(basename $key)" -f $key
done
cp tunnel.pub client
cp login.pub target/authorized_keys

cat >manager/usp-manager.hcl <<END
encryption {
  kek_source = "file"
  kek        = "/opt/udmg/etc/kek"
}
web {
  tls {
    cert = "/opt/udmg/etc/usp-manager.crt"
    key  = "/opt/udmg/etc/usp-manager.key"
  }
}
END
cat >server/usp-server.hcl <<END
name = "usp-server"
web {
  tls {
    cert = "/opt/udmg/etc/usp-server.crt"
    key  = "/opt/udmg/etc/usp-server.key"
    ca   = "/opt/udmg/etc/ca.crt"
  }
}
audit {
  path = "/opt/udmg/log/audit.log"
}
END
cat >client/usp-client.hcl <<END
name  = "usp-client"
key   = "/opt/udmg/etc/client"
allow = ["target:22"]
tunnel {
  host     = "usp-server"
  port     = 2022
  host_key = "/opt/udmg/etc/tunnel.pub"
}
END

admin=$(openssl rand -hex 12) partner=$(openssl rand -hex 12)
text() { printf '<<END\n%s\nEND\n' "$(cat "$1")"; }
line() { printf '"%s"\n' "$(cat "$1")"; }
cat >gateway.hcl <<END
ca_certificate "ca" {
  certificate = $(text ca/ca.crt)
}
tls_certificate "manager" {
  certificate = $(text ca/usp-manager.crt)
  private_key = $(text ca/usp-manager.key)
}
private_key "host" {
  private_key = $(text host)
}
private_key "tunnel" {
  private_key = $(text tunnel)
}
private_key "login" {
  private_key = $(text login)
}
public_key "client" {
  public_key = $(line client/client.pub)
}
public_key "target" {
  public_key = $(line target/host.pub)
}
ip_filter "everybody" {
  default = "allow"
}
account_repository "partners" {}
account "partner" {
  account_repository = "partners"
  username           = "partner"
  password           = "$partner"
}
rule "partners" {
  inbound_method       = "password_or_public_key"
  inbound_source       = "account_repository"
  account_repository   = "partners"
  outbound_credentials = "dedicated"
  username             = "gateway"
  private_key          = "login"
}
inbound_node "partners" {
  ip_filter = "everybody"
  host_keys = ["host"]
  rule      = "partners"
}
outbound_node "target" {
  host      = "target"
  host_keys = ["target"]
}
route "partners" {
  inbound_nodes  = ["partners"]
  outbound_nodes = ["target"]
}
proxy_server "usp-server" {
  host            = "usp-server"
  ca_certificate  = "ca"
  tls_certificate = "manager"
}
tunnel "tunnel" {
  proxy_server = "usp-server"
  port         = 2022
  private_key  = "tunnel"
}
proxy_client "usp-client" {
  tunnel     = "tunnel"
  public_key = "client"
}
listener "partners" {
  port                  = 2222
  route                 = "partners"
  default_outbound_node = "target"
}
deployment "partners" {
  listener     = "partners"
  proxy_server = "usp-server"
  tunnel       = "tunnel"
  proxy_client = "usp-client"
}
END
printf '[localhost]:2222 %s\n' "$(cat host.pub)" >known_hosts

# The images' user, whose files these have to be; without root, containers run as whoever made the files.
USP_USER=$(id -u):$(id -g)
if [ "$(id -u)" = 0 ]; then
  USP_USER=999:999
  chown -R $USP_USER manager server client
fi
mkdir manager-var server-log
chown "$USP_USER" manager-var server-log
echo "USP_USER=$USP_USER" >../.env
cd ..

$COMPOSE build
manager() { $COMPOSE run --rm --no-deps -T usp-manager -config /opt/udmg/etc/usp-manager.hcl "$@"; }
manager db upgrade
echo "$admin" | manager user add admin --role admin --password-stdin
USP_TOKEN=$(manager token add trial --user admin | tr -d '\r' | grep -x 'usp_[A-Za-z0-9_-]*')  # podman-compose talks, too
USP_URL=https://localhost:8443 USP_CA=$PWD/trial/ca/ca.crt
export USP_URL USP_CA USP_TOKEN
$COMPOSE up -d
tries=60
until said=$(usp status 2>&1); do
  tries=$((tries - 1))
  [ $tries -gt 0 ] || { echo "trial: the manager does not answer: $said" >&2; exit 1; }
  sleep 1
done
usp apply -f trial/gateway.hcl
usp push usp-server --wait

cat <<END

  As a partner:  sftp -P 2222 -o UserKnownHostsFile=$PWD/trial/known_hosts partner@localhost
  Password:      $partner
  Web UI:        https://localhost:8443  (user admin, password $admin; the CA is trial/ca/ca.crt)
  Files land in: the container "target", /home/gateway
END
