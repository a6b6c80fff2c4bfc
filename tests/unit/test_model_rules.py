"""Every field and every rule of the configuration items (product.md, "Configuration items"), over `catalog.apply`:
what is taken, and what is refused, with the place and the words of the problem.

Each case starts from an item of its kind that is right (`RIGHT`) in a catalog that has everything, and changes fields.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.catalogs import NOW, ids, sample
from usp import pki
from usp.algorithms import KNOWN
from usp.combinations import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.errors import Problem, UspError
from usp.manager import keys
from usp.manager.catalog import Catalog, Create, Delete, Update, apply
from usp.manager.kinds import targets
from usp.model import KINDS
from usp.ssh.keys import generate

CATALOG: Final = sample()
CA: Final = pki.new_ca("ca", now=NOW)
LEAF: Final = pki.issue(CA, now=NOW, dns=["x"])
OTHER: Final = pki.issue(CA, now=NOW, dns=["y"])
PRIVATE, PUBLIC = generate()
HASH: Final = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0$" + "A" * 43

Fields = dict[str, Any]

RIGHT: Final[dict[str, Fields]] = {
    "ca-certificates": {"certificate": CA.cert},
    "tls-certificates": {"certificate": LEAF.cert, "private_key": LEAF.key},
    "private-keys": {"private_key": PRIVATE.reveal()},
    "public-keys": {"public_key": PUBLIC},
    "ip-filters": {},
    "account-repositories": {},
    "accounts": {"account_repository": "partners", "username": "new"},
    "rules": {"inbound_method": "password", "inbound_source": "none", "outbound_credentials": "passthrough"},
    "inbound-nodes": {"ip_filter": "everyone", "host_keys": ["host-key"], "rule": "passthrough"},
    "outbound-nodes": {"host": "sftp.internal", "host_keys": ["target-key"]},
    "routes": {"inbound_nodes": ["low"], "outbound_nodes": ["target"]},
    "listeners": {"port": 2300, "route": "route", "default_outbound_node": "target"},
    "proxy-servers": {"host": "dmz3.example.org", "ca_certificate": "ca", "tls_certificate": "tls"},
    "tunnels": {"proxy_server": "dmz", "port": 2400, "private_key": "tunnel-key"},
    "proxy-clients": {"tunnel": "tunnel", "public_key": "client-key"},
    "deployments": {"listener": "tcp", "proxy_server": "dmz2"},
}
TCP: Final[Fields] = {"type": "tcp", "route": None, "default_outbound_node": None,
                      "ip_filter": "everyone", "target_host": "10.0.0.7", "target_port": 22}  # fmt: skip
DEDICATED: Final[Fields] = {"inbound_source": "account_repository", "account_repository": "partners",
                            "outbound_credentials": "dedicated", "username": "gateway", "password": "x"}  # fmt: skip

NAME: Final = "must be 1 to 255 letters, digits, '-' or '_'"
USERNAME: Final = "must be 1 to 255 letters, digits, '.', '@', '-' or '_'"
TEXT: Final = "must be a text"
NUMBER: Final = "must be a whole number"
LIST: Final = "must be a list"
REQUIRED: Final = "is required"
LEAST: Final = "must have at least 1 (it has 0)"
HOST: Final = "must be a host name or an IP address"
BANNER: Final = "must be text, tabs and line ends; other control characters could steer a terminal"
MISSING: Final[Any] = object()
"""As a value: the field is left out."""


def unknown(category: str) -> str:
    return f"is no SSH algorithm that is known here; these are: {', '.join(KNOWN[category])}"


GOOD: Final[list[tuple[str, Fields]]] = [
    ("ca-certificates", {"certificate": CA.cert + CA.cert}),
    ("ca-certificates", {"private_key": None}),
    ("ca-certificates", {"private_key": CA.key}),
    ("tls-certificates", {"certificate": LEAF.cert + CA.cert}),
    ("tls-certificates", {"private_key": LEAF.key}),
    ("private-keys", {"private_key": generate("ecdsa-sha2-nistp256")[0].reveal()}),
    ("public-keys", {"public_key": f"{PUBLIC} with a comment\n"}),
    ("ip-filters", {"block": ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1"]}),
    ("ip-filters", {"allow": ["0.0.0.0/0"]}),
    ("ip-filters", {"default": "block"}),
    ("accounts", {"account_repository": CATALOG.get("account-repositories", "partners").id}),
    ("accounts", {"username": "a.b-c_d@example.org"}),
    ("accounts", {"username": "x" * 255}),
    ("accounts", {"password": HASH}),
    ("accounts", {"password": None}),
    ("accounts", {"public_keys": ["client-key", "target-key"]}),
    ("accounts", {"target_username": "someone"}),
    ("accounts", {"policy": {"preset": "download_only"}}),
    ("accounts", {"policy": None}),
    ("rules", {**DEDICATED, "inbound_method": "public_key"}),
    ("rules", {"inbound_source": "ldap"}),
    ("rules", {**DEDICATED, "account_repository": "partners"}),
    ("rules", {**DEDICATED, "inbound_method": "public_key", "trusted_ca_keys": ["client-key"]}),
    ("rules", {**DEDICATED, "outbound_credentials": "dedicated"}),
    ("rules", {**DEDICATED, "username": "some.one"}),
    ("rules", {**DEDICATED, "password": "only this"}),
    ("rules", {**DEDICATED, "password": None, "private_key": "host-key"}),
    ("rules", {**DEDICATED, "private_key": "host-key"}),
    ("rules", {"policy": {}}),
    ("rules", {"policy": {"preset": "upload_only", "allow": ["rename"], "deny": ["overwrite"], "mode": "observe",
                          "paths": [{"path": "~/in/**", "access": "allow", "classes": ["write"]},
                                    {"path": "/**", "access": "deny"}], "forbidden_names": ["*.exe"],
                          "ignore_case": True, "max_file_size": 0, "max_open_handles": 2048}}),
    ("rules", {"policy": {"root": "/partners/{account}", "windows": [
        {"access": "read_only", "days": ["mon", "fri"], "start": "22:00", "end": "06:00", "timezone": "Europe/Zurich"},
        {"access": "closed"}]}}),
    ("rules", {"scan": None}),
    ("rules", {"content_hash": True}),
    ("rules", {"scan": {"url": "icap://scanner.internal:1344/avscan", "on_failure": "allow", "max_size": 1,
                        "on_oversize": "allow", "exclude": ["*.csv"], "timeout": 5}}),
    ("rules", {"bandwidth": {"upload": 10_000, "download": 10**12}}),
    ("accounts", {"bandwidth": {"upload": 1_000_000}}),
    ("listeners", {"bandwidth": {"download": 1_000_000}}),
    ("inbound-nodes", {"priority": -1_000_000}),
    ("inbound-nodes", {"priority": 1_000_000}),
    ("inbound-nodes", {"ip_filter": "everyone"}),
    ("inbound-nodes", {"host_keys": ["host-key", "host-key-2"]}),
    ("inbound-nodes", {"rule": "dedicated"}),
    ("inbound-nodes", {"banner": "Welcome\n\tto us \N{SNOWMAN}"}),
    ("inbound-nodes", {"algorithms": {"ciphers": ["aes128-gcm@openssh.com"], "macs": [], "kex": ["curve25519-sha256"],
                                      "host_key_types": ["ssh-ed25519"], "signature_types": ["rsa-sha2-512"]}}),
    ("outbound-nodes", {"host": "10.0.0.1"}),
    ("outbound-nodes", {"host": "2001:db8::1"}),
    ("outbound-nodes", {"host": "sftp_1.internal."}),
    ("outbound-nodes", {"port": 65535}),
    ("outbound-nodes", {"host_keys": ["target-key", "client-key"]}),
    ("outbound-nodes", {"algorithms": {}}),
    ("outbound-nodes", {"algorithms": {"profile": "compatible"}}),
    ("outbound-nodes", {"alternates": [{"host": "10.0.0.2", "port": 22}, {"host": "10.0.0.2", "port": 23}]}),
    ("outbound-nodes", {"alternates": [{"host": "x", "weight": 1000}], "distribution": "weighted", "weight": 0}),
    ("outbound-nodes", {"distribution": "weighted"}),
    ("outbound-nodes", {"send_proxy_v2": True}),
    ("outbound-nodes", {"alternates": [{"host": "x", "weight": 1}], "distribution": "ordered", "weight": 1}),
    ("outbound-nodes", {"connection_reuse": True}),
    ("outbound-nodes", {"connection_reuse": True, "sessions_per_connection": 2}),
    ("outbound-nodes", {"sessions_per_connection": 8}),
    ("routes", {"inbound_nodes": ["low", "high"]}),
    ("routes", {"outbound_nodes": ["target", "spare"]}),
    ("listeners", {"address": "::1"}),
    ("listeners", {"port": 1}),
    ("listeners", {"type": "sftp"}),
    ("listeners", {"withhold_banner": False}),
    ("listeners", {"route": "route"}),
    ("listeners", {"default_outbound_node": "target"}),
    ("listeners", TCP),
    ("listeners", {**TCP, "ip_filter": "everyone"}),
    ("listeners", {**TCP, "target_host": "x"}),
    ("listeners", {**TCP, "target_port": 1}),
    ("listeners", {**TCP, "send_proxy_v2": True}),
    ("listeners", {"proxy_protocol": "required", "proxy_trusted": ["192.0.2.0/24"]}),
    ("proxy-servers", {"host": "10.0.0.1"}),
    ("proxy-servers", {"port": 1}),
    ("proxy-servers", {"ca_certificate": "ca"}),
    ("proxy-servers", {"tls_certificate": "tls"}),
    ("tunnels", {"proxy_server": "dmz2"}),
    ("tunnels", {"address": "192.0.2.1"}),
    ("tunnels", {"port": 1}),
    ("tunnels", {"private_key": "host-key"}),
    ("proxy-clients", {"tunnel": "tunnel"}),
    ("proxy-clients", {"public_key": "target-key"}),
    ("deployments", {"listener": "sftp"}),
    ("deployments", {"proxy_server": "dmz"}),
    ("deployments", {"startup": "manual"}),
    ("deployments", {"proxy_server": "dmz", "tunnel": "tunnel", "proxy_client": "lan"}),
    *((kind, {"name": name}) for kind in KINDS for name in ("a", "A-1_b", "x" * 255)),
    *((kind, {"description": "\N{SNOWMAN}" * 4096}) for kind in KINDS),
    *((kind, {"enabled": False}) for kind in KINDS),
]  # fmt: skip

Loc = str | tuple[str | int, ...]

BAD: Final[list[tuple[str, Fields, Loc, str]]] = [
    ("ca-certificates", {"certificate": MISSING}, "certificate", REQUIRED),
    ("ca-certificates", {"certificate": ""}, "certificate", "must not be empty"),
    ("ca-certificates", {"certificate": "x" * 65537}, "certificate", "must not be longer than 65536 characters"),
    ("ca-certificates", {"certificate": "garbage"}, "certificate", "this is not a certificate in PEM form"),
    ("ca-certificates", {"certificate": LEAF.cert}, "certificate",
     "this is not a CA's certificate: it may not sign others"),
    ("ca-certificates", {"private_key": LEAF.key}, "private_key",
     "this private key does not belong to the certificate"),
    ("tls-certificates", {"certificate": CA.cert + CA.key}, "certificate",
     "there is a private key in it, which does not belong here"),
    ("tls-certificates", {"private_key": MISSING}, "private_key", REQUIRED),
    ("tls-certificates", {"private_key": ""}, "private_key", "must not be empty"),
    ("tls-certificates", {"private_key": "***"}, "private_key", "give the secret itself: none is stored yet"),
    ("tls-certificates", {"private_key": OTHER.key}, "private_key",
     "this private key does not belong to the certificate"),
    ("private-keys", {"private_key": 7}, "private_key", TEXT),
    ("private-keys", {"private_key": "garbage"}, "private_key", "this is not a private key in OpenSSH or PEM form"),
    ("public-keys", {"public_key": "garbage"}, "public_key", "this is not a public key in OpenSSH form"),
    ("public-keys", {"public_key": f"{PUBLIC}\n{PUBLIC}"}, "public_key",
     "a public key is one line, such as 'ssh-ed25519 AAAA... comment'"),
    ("ip-filters", {"block": ["192.168.1.42/24"]}, ("block", 0),
     "is not canonical: host bits are set; write 192.168.1.0/24 or a single address"),
    ("ip-filters", {"block": "192.0.2.7"}, "block", LIST),
    ("ip-filters", {"allow": ["::1", "2001:0db8::/32"]}, ("allow", 1), "is not canonical; write 2001:db8::/32"),
    ("ip-filters", {"allow": ["300.0.0.1"]}, ("allow", 0),
     "is not an IPv4 or IPv6 address or network, such as 192.0.2.7 or 2001:db8::/32"),
    ("ip-filters", {"default": "drop"}, "default", "must be 'allow' or 'block'"),
    ("accounts", {"account_repository": MISSING}, "account_repository", REQUIRED),
    ("accounts", {"account_repository": "none"}, "account_repository", "there is no Account Repository 'none'"),
    ("accounts", {"account_repository": CATALOG.get("rules", "dedicated").id}, "account_repository",
     "must be one of the account-repositories; this is one of the rules"),
    ("accounts", {"username": "a b"}, "username", USERNAME),
    ("accounts", {"username": ""}, "username", USERNAME),
    ("accounts", {"username": "x" * 256}, "username", USERNAME),
    ("accounts", {"username": "acme@example.org"}, "username",
     "Account 'new' and Account 'acme' have the same user name in Account Repository 'partners'"),
    ("accounts", {"password": 7}, "password", TEXT),
    ("accounts", {"public_keys": ["client-key", "none"]}, ("public_keys", 1), "there is no Public Key 'none'"),
    ("accounts", {"public_keys": ["client-key", "client-key"]}, ("public_keys", 1), "'client-key' is there twice"),
    ("accounts", {"target_username": "a/b"}, "target_username", USERNAME),
    ("accounts", {"policy": {"preset": "some"}}, ("policy", "preset"),
     "must be 'full', 'upload_only' or 'download_only'"),
    ("rules", {"inbound_method": "certificate"}, "inbound_method",
     "must be 'password', 'public_key', 'password_or_public_key' or 'password_and_public_key'"),
    ("rules", {"inbound_source": "radius"}, "inbound_source", "must be 'none', 'account_repository' or 'ldap'"),
    ("rules", {"inbound_source": "account_repository"}, "account_repository",
     "goes with inbound_source 'account_repository', and only with it"),
    ("rules", {"account_repository": "partners"}, "account_repository",
     "goes with inbound_source 'account_repository', and only with it"),
    ("rules", {"trusted_ca_keys": ["client-key"]}, "trusted_ca_keys",
     "goes with an inbound_method that takes a public key"),
    ("rules", {"outbound_credentials": "anonymous"}, "outbound_credentials", "must be 'passthrough' or 'dedicated'"),
    ("rules", {**DEDICATED, "username": None}, "username", "dedicated credentials need the user name at the target"),
    ("rules", {**DEDICATED, "username": "a b"}, "username", USERNAME),
    ("rules", {**DEDICATED, "password": None}, "password",
     "dedicated credentials need a password, a private_key, or both"),
    ("rules", {**DEDICATED, "private_key": "none"}, "private_key", "there is no Private Key 'none'"),
    *(("rules", {field: value}, field, "goes with outbound_credentials 'dedicated' only")
      for field, value in (("username", "u"), ("password", "p"), ("private_key", "host-key"))),
    ("rules", {"policy": None}, "policy", "must be an object"),
    ("rules", {"policy": {"allow": ["read"], "deny": ["read"]}}, "policy", "read: stands in both allow and deny"),
    ("rules", {"policy": {"paths": [{"path": "in", "access": "deny"}]}}, ("policy", "paths", 0, "path"),
     "must begin with / or, for what is below the partner's home at the target, with ~/"),
    ("rules", {"policy": {"paths": [{"path": "/in"}]}}, ("policy", "paths", 0, "access"), REQUIRED),
    ("rules", {"policy": {"forbidden_names": [""]}}, ("policy", "forbidden_names", 0), "must not be empty"),
    ("rules", {"policy": {"max_file_size": "1G"}}, ("policy", "max_file_size"), NUMBER),
    ("rules", {"policy": {"root": "/partners/../{account}"}}, ("policy", "root"),
     "must be in normal form: without //, . and .., and without / at the end"),
    ("rules", {"policy": {"windows": [{"access": "closed", "end": "24:01"}]}}, ("policy", "windows", 0, "end"),
     "must be a time of day, from 00:00 to 24:00"),
    ("rules", {"policy": {"max_open_handles": 2049}}, ("policy", "max_open_handles"), "must be 2048 or less"),
    ("rules", {"scan": {"url": "http://scanner/"}}, ("scan", "url"),
     "must be such as icap://scanner.internal:1344/avscan"),
    ("rules", {"scan": {}}, ("scan", "url"), REQUIRED),
    ("rules", {"content_hash": "sha256"}, "content_hash", "must be true or false"),
    ("rules", {"scan": {"url": "icap://scanner/x", "timeout": 0}}, ("scan", "timeout"), "must be 1 or more"),
    ("rules", {"scan": {"url": "icap://scanner/x", "exclude": ["a/b"]}}, ("scan", "exclude", 0),
     "is a pattern for names, in which there is no /"),
    ("rules", {"bandwidth": {"upload": 9_999}}, ("bandwidth", "upload"), "must be 10000 or more"),
    ("accounts", {"bandwidth": {"both": 10_000}}, ("bandwidth", "both"), "there is no such field"),
    ("listeners", {"bandwidth": {"download": "1M"}}, ("bandwidth", "download"), NUMBER),
    ("inbound-nodes", {"priority": 1_000_001}, "priority", "must be 1000000 or less"),
    ("inbound-nodes", {"priority": -1_000_001}, "priority", "must be -1000000 or more"),
    ("inbound-nodes", {"priority": "1"}, "priority", NUMBER),
    ("inbound-nodes", {"ip_filter": MISSING}, "ip_filter", REQUIRED),
    ("inbound-nodes", {"ip_filter": "none"}, "ip_filter", "there is no IP Filter 'none'"),
    ("inbound-nodes", {"host_keys": []}, "host_keys", LEAST),
    ("inbound-nodes", {"host_keys": ["target-key"]}, ("host_keys", 0), "there is no Private Key 'target-key'"),
    ("inbound-nodes", {"rule": None}, "rule", TEXT),
    ("inbound-nodes", {"rule": "none"}, "rule", "there is no Rule 'none'"),
    ("inbound-nodes", {"banner": "\x1b[2J"}, "banner", BANNER),
    ("inbound-nodes", {"banner": "x" * 4097}, "banner", "must not be longer than 4096 characters"),
    ("inbound-nodes", {"algorithms": {"ciphers": ["a b"]}}, ("algorithms", "ciphers", 0), unknown("ciphers")),
    ("inbound-nodes", {"algorithms": {"macs": "x"}}, ("algorithms", "macs"), LIST),
    ("inbound-nodes", {"algorithms": {"kex": [""]}}, ("algorithms", "kex", 0), unknown("kex")),
    ("inbound-nodes", {"algorithms": {"profile": "old"}}, ("algorithms", "profile"),
     "must be 'modern', 'compatible', 'fips' or 'legacy'"),
    ("inbound-nodes", {"algorithms": {"host_key_types": [7]}}, ("algorithms", "host_key_types", 0), TEXT),
    ("inbound-nodes", {"algorithms": {"signature_types": ["rsa"]}}, ("algorithms", "signature_types", 0),
     unknown("signature_types")),
    ("inbound-nodes", {"algorithms": {"compression": []}}, ("algorithms", "compression"), "there is no such field"),
    ("outbound-nodes", {"host": "a b"}, "host", HOST),
    ("outbound-nodes", {"host": ("x" * 63 + ".") * 3 + "y" * 62}, "host", "must not be longer than 253 characters"),
    ("outbound-nodes", {"port": 0}, "port", "must be 1 or more"),
    ("outbound-nodes", {"port": 65536}, "port", "must be 65535 or less"),
    ("outbound-nodes", {"port": 22.5}, "port", NUMBER),
    ("outbound-nodes", {"host_keys": []}, "host_keys", LEAST),
    ("outbound-nodes", {"host_keys": ["host-key"]}, ("host_keys", 0), "there is no Public Key 'host-key'"),
    ("outbound-nodes", {"algorithms": None}, "algorithms", "must be an object"),
    ("outbound-nodes", {"alternates": [{"host": "a b", "port": 22}]}, ("alternates", 0, "host"), HOST),
    ("outbound-nodes", {"alternates": "10.0.0.2"}, "alternates", LIST),
    ("outbound-nodes", {"alternates": [{"host": "x", "port": 1}, {"host": "x", "port": 1}]}, ("alternates", 1),
     "is there already"),
    ("outbound-nodes", {"distribution": "random"}, "distribution", "must be 'ordered' or 'weighted'"),
    ("outbound-nodes", {"distribution": "weighted", "weight": 1001}, "weight", "must be 1000 or less"),
    ("outbound-nodes", {"distribution": "weighted", "weight": 0}, "weight",
     "one address at least must have a weight above 0"),
    ("outbound-nodes", {"send_proxy_v2": "v2"}, "send_proxy_v2", "must be true or false"),
    ("listeners", {"send_proxy_v2": True}, "send_proxy_v2",
     "goes with type 'tcp' only: else the Outbound Node says it"),
    ("outbound-nodes", {"send_proxy_v2": True, "connection_reuse": True}, "send_proxy_v2",
     "does not go with connection_reuse: a header speaks for one partner"),
    ("outbound-nodes", {"weight": 2}, "weight", "goes with distribution 'weighted' only"),
    ("outbound-nodes", {"alternates": [{"host": "x"}, {"host": "y", "weight": 0}]}, ("alternates", 1, "weight"),
     "goes with distribution 'weighted' only"),
    ("outbound-nodes", {"connection_reuse": 1}, "connection_reuse", "must be true or false"),
    ("outbound-nodes", {"sessions_per_connection": 9}, "sessions_per_connection", "goes with connection_reuse only"),
    ("outbound-nodes", {"connection_reuse": True, "sessions_per_connection": 1}, "sessions_per_connection",
     "must be 2 or more"),
    ("outbound-nodes", {"connection_reuse": True, "sessions_per_connection": 101}, "sessions_per_connection",
     "must be 100 or less"),
    ("routes", {"inbound_nodes": []}, "inbound_nodes", LEAST),
    ("routes", {"inbound_nodes": ["target"]}, ("inbound_nodes", 0), "there is no Inbound Node 'target'"),
    ("routes", {"outbound_nodes": []}, "outbound_nodes", LEAST),
    ("routes", {"outbound_nodes": MISSING}, "outbound_nodes", REQUIRED),
    ("listeners", {"address": "localhost"}, "address",
     "is not an IP address to listen on, such as 0.0.0.0, :: or 192.0.2.7"),
    ("listeners", {"port": MISSING}, "port", REQUIRED),
    ("listeners", {"port": True}, "port", NUMBER),
    ("listeners", {"type": "ftp"}, "type", "must be 'sftp' or 'tcp'"),
    ("listeners", {"proxy_protocol": "v2"}, "proxy_protocol", "must be 'off' or 'required'"),
    ("listeners", {"proxy_protocol": "required"}, "proxy_trusted",
     "is needed with proxy_protocol 'required': name your load balancers"),
    ("listeners", {"proxy_trusted": ["192.0.2.0/24"]}, "proxy_trusted", "goes with proxy_protocol 'required' only"),
    ("listeners", {"withhold_banner": "no"}, "withhold_banner", "must be true or false"),
    ("listeners", {"route": None}, "route", "is required for type 'sftp'"),
    ("listeners", {"default_outbound_node": None}, "default_outbound_node", "is required for type 'sftp'"),
    ("listeners", {"default_outbound_node": "spare"}, "default_outbound_node",
     "Outbound Node 'spare' does not belong to Route 'route' of Listener 'new'"),
    *(("listeners", {field: value}, field, "goes with type 'tcp' only")
      for field, value in (("ip_filter", "everyone"), ("target_host", "x"), ("target_port", 22))),
    *(("listeners", {**TCP, field: None}, field, "is required for type 'tcp'")
      for field in ("ip_filter", "target_host", "target_port")),
    *(("listeners", {**TCP, field: value}, field, "goes with type 'sftp' only")
      for field, value in (("route", "route"), ("default_outbound_node", "target"))),
    ("proxy-servers", {"host": ""}, "host", HOST),
    ("proxy-servers", {"port": 70000}, "port", "must be 65535 or less"),
    ("proxy-servers", {"ca_certificate": "tls"}, "ca_certificate", "there is no CA Certificate 'tls'"),
    ("proxy-servers", {"tls_certificate": "ca"}, "tls_certificate", "there is no TLS Certificate 'ca'"),
    ("tunnels", {"proxy_server": "none"}, "proxy_server", "there is no Proxy Server 'none'"),
    ("tunnels", {"address": "1.2.3"}, "address", "is not an IP address to listen on, such as 0.0.0.0, :: or 192.0.2.7"),
    ("tunnels", {"port": "2400"}, "port", NUMBER),
    ("tunnels", {"port": 2223}, "port",
     "Tunnel 'tunnel' and Tunnel 'new' would both listen on port 2223 of Proxy Server 'dmz'"),
    ("tunnels", {"port": 2222}, "port",
     "Listener 'sftp' and Tunnel 'new' would both listen on port 2222 of Proxy Server 'dmz'"),
    ("tunnels", {"private_key": "client-key"}, "private_key", "there is no Private Key 'client-key'"),
    ("proxy-clients", {"tunnel": "none"}, "tunnel", "there is no Tunnel 'none'"),
    ("proxy-clients", {"public_key": "tunnel-key"}, "public_key", "there is no Public Key 'tunnel-key'"),
    ("deployments", {"listener": "none"}, "listener", "there is no Listener 'none'"),
    ("deployments", {"listener": "sftp", "proxy_server": "dmz"}, "listener",
     "Listener 'sftp' and Listener 'sftp' would both listen on port 2222 of Proxy Server 'dmz'"),
    ("deployments", {"proxy_server": MISSING}, "proxy_server", REQUIRED),
    ("deployments", {"startup": "later"}, "startup", "must be 'auto' or 'manual'"),
    ("deployments", {"tunnel": "tunnel"}, "proxy_client",
     "tunnel and proxy_client go together: give both or neither"),
    ("deployments", {"proxy_client": "lan"}, "tunnel", "tunnel and proxy_client go together: give both or neither"),
    ("deployments", {"tunnel": "tunnel", "proxy_client": "lan"}, "tunnel",
     "Tunnel 'tunnel' does not belong to Proxy Server 'dmz2' of Deployment 'new'"),
    *((kind, {"name": name}, "name", NAME) for kind in KINDS for name in ("", "a b", "a.b", "x" * 256, "a\n")),
    *((kind, {"name": MISSING}, "name", REQUIRED) for kind in KINDS),
    *((kind, {"name": CATALOG.of_kind(kind)[0].item.name}, "name",
       f"another {KINDS[kind].title} is called '{CATALOG.of_kind(kind)[0].item.name}'") for kind in KINDS),
    *((kind, {"description": "x" * 4097}, "description", "must not be longer than 4096 characters") for kind in KINDS),
    *((kind, {"enabled": "yes"}, "enabled", "must be true or false") for kind in KINDS),
    *((kind, {"colour": "red"}, "colour", "there is no such field") for kind in KINDS),
]  # fmt: skip


def written(kind: str, changed: Fields) -> Fields:
    fields = {"name": "new", **RIGHT[kind], **changed}
    return {name: value for name, value in fields.items() if value is not MISSING}


def made(kind: str, changed: Fields) -> Catalog:
    change = Create(kind, written(kind, changed), loc=("here",))
    return CATALOG.after(apply(CATALOG, [change], now=NOW, new_id=ids("new"), facts=keys.facts))


@pytest.mark.parametrize(("kind", "changed"), GOOD)
def test_taken(kind: str, changed: Fields) -> None:
    catalog = made(kind, changed)
    record = catalog.get(kind, changed.get("name", "new"))
    shown = record.item.model_dump(mode="json")
    for reference, place, id in targets(record.item):
        name = catalog.records[id].item.name
        shown[reference.field] = name if place is None else [*shown[reference.field][:place], name,
                                                             *shown[reference.field][place + 1 :]]  # fmt: skip
    for name, value in changed.items():
        is_id = isinstance(value, str) and value in CATALOG.records
        assert is_id or shown[name] == "***" or shows(shown[name], value)


def shows(shown: Any, given: Any) -> bool:
    """What was given is there; what was left out may be, too."""
    if isinstance(given, dict):
        return all(shows(shown[name], value) for name, value in given.items())
    if isinstance(given, list):
        return len(shown) == len(given) and all(map(shows, shown, given))
    return bool(shown == given)


@pytest.mark.parametrize(("kind", "changed", "loc", "msg"), BAD)
def test_refused(kind: str, changed: Fields, loc: Loc, msg: str) -> None:
    with pytest.raises(UspError) as caught:
        made(kind, changed)
    where = loc if isinstance(loc, tuple) else (loc,)
    assert Problem(("here", *where), msg) in caught.value.problems
    assert caught.value.code in ("item.invalid", "item.name_taken")


def test_every_field_has_a_case_that_is_taken_and_one_that_is_refused() -> None:
    good = {(kind, name) for kind, changed in GOOD for name in changed}
    bad = {(kind, loc if isinstance(loc, str) else loc[0]) for kind, _, loc, _ in BAD}
    fields = {(kind, name) for kind, model in KINDS.items() for name in model.model_fields}
    assert fields <= good, sorted(fields - good)
    assert fields <= bad, sorted(fields - bad)


def test_the_nine_combinations_and_no_other() -> None:
    for method in InboundMethod:
        for source in InboundSource:
            for outbound in OutboundCredentials:
                dedicated = outbound is OutboundCredentials.DEDICATED
                fields = {
                    "inbound_method": method.value,
                    "inbound_source": source.value,
                    "outbound_credentials": outbound.value,
                    "account_repository": "partners" if source is InboundSource.ACCOUNT_REPOSITORY else None,
                    "username": "u" if dedicated else None,
                    "password": "p" if dedicated else None,
                }
                if (method, source, outbound) in RULE_COMBINATIONS:
                    made("rules", fields)
                    continue
                with pytest.raises(UspError) as caught:
                    made("rules", fields)
                (problem,) = caught.value.problems
                chosen = f"{method} / {source} / {outbound}"
                assert problem == Problem(
                    ("here", "inbound_method"), f"{chosen} is not one of the nine valid combinations"
                )
    assert len(RULE_COMBINATIONS) == 9


REFERRED: Final = [
    ("ca-certificates", "ca", "Proxy Server 'dmz' refers to CA Certificate 'ca' (its ca_certificate)"),
    ("tls-certificates", "tls", "Proxy Server 'dmz' refers to TLS Certificate 'tls' (its tls_certificate)"),
    ("private-keys", "host-key", "Inbound Node 'low' refers to Private Key 'host-key' (its host_keys)"),
    ("private-keys", "tunnel-key", "Tunnel 'tunnel' refers to Private Key 'tunnel-key' (its private_key)"),
    ("public-keys", "target-key", "Outbound Node 'target' refers to Public Key 'target-key' (its host_keys)"),
    ("public-keys", "client-key", "Account 'acme' refers to Public Key 'client-key' (its public_keys)"),
    ("ip-filters", "everyone", "Inbound Node 'low' refers to IP Filter 'everyone' (its ip_filter)"),
    ("account-repositories", "partners", "Account 'acme' refers to Account Repository 'partners' "
     "(its account_repository)"),
    ("rules", "passthrough", "Inbound Node 'low' refers to Rule 'passthrough' (its rule)"),
    ("inbound-nodes", "low", "Route 'route' refers to Inbound Node 'low' (its inbound_nodes)"),
    ("outbound-nodes", "target", "Route 'route' refers to Outbound Node 'target' (its outbound_nodes)"),
    ("routes", "route", "Listener 'sftp' refers to Route 'route' (its route)"),
    ("listeners", "sftp", "Deployment 'sftp-dmz' refers to Listener 'sftp' (its listener)"),
    ("proxy-servers", "dmz", "Tunnel 'tunnel' refers to Proxy Server 'dmz' (its proxy_server)"),
    ("tunnels", "tunnel", "Proxy Client 'lan' refers to Tunnel 'tunnel' (its tunnel)"),
    ("proxy-clients", "lan", "Deployment 'sftp-dmz' refers to Proxy Client 'lan' (its proxy_client)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "msg"), REFERRED)
def test_what_is_referred_to_stays(kind: str, name: str, msg: str) -> None:
    with pytest.raises(UspError) as caught:
        apply(CATALOG, [Delete(kind, name, loc=("here",))], now=NOW, new_id=ids())
    assert caught.value.code == "item.referenced"
    assert Problem(("here",), msg) in caught.value.problems


RIPPLES: Final[list[tuple[str, str, Fields, Loc, str]]] = [
    ("routes", "route", {"outbound_nodes": ["spare"]}, "outbound_nodes",
     "Outbound Node 'target' does not belong to Route 'route' of Listener 'sftp'"),
    ("tunnels", "tunnel", {"proxy_server": "dmz2"}, "proxy_server",
     "Tunnel 'tunnel' does not belong to Proxy Server 'dmz' of Deployment 'sftp-dmz'"),
    ("listeners", "sftp", {"port": 2223}, "port",
     "Listener 'sftp' and Tunnel 'tunnel' would both listen on port 2223 of Proxy Server 'dmz'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "changed", "loc", "msg"), RIPPLES)
def test_a_change_that_breaks_another_item(kind: str, name: str, changed: Fields, loc: str, msg: str) -> None:
    fields = {**CATALOG.get(kind, name).item.model_dump(mode="json"), **changed}
    with pytest.raises(UspError) as caught:
        apply(CATALOG, [Update(kind, name, fields, loc=("here",))], now=NOW, new_id=ids())
    found = {(problem.loc, problem.msg) for problem in caught.value.problems}
    assert any(where == ("here", loc) and _same(msg, told) for where, told in found), found


def _same(one: str, other: str) -> bool:
    """Whose port it is may be told in either order."""
    return sorted(one.replace(",", "").split()) == sorted(other.replace(",", "").split())


def test_other_addresses_share_a_port() -> None:
    listener = Create("listeners", {"name": "l", **RIGHT["listeners"], "address": "192.0.2.1"})
    tunnel = {"name": "t", **RIGHT["tunnels"], "port": 2300}
    deployment = Create("deployments", {"name": "d", "listener": "l", "proxy_server": "dmz"})

    def with_tunnel_at(address: str) -> None:
        changes = [listener, deployment, Create("tunnels", {**tunnel, "address": address}, loc=("t",))]
        apply(CATALOG, changes, now=NOW, new_id=ids("x"))

    with_tunnel_at("192.0.2.2")
    for address in ("192.0.2.1", "0.0.0.0", "::"):
        with pytest.raises(UspError, match="would both listen on port 2300"):
            with_tunnel_at(address)
