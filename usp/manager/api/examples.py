"""Words and examples of the OpenAPI document.

`WORDS`: what a field is, and an example of it, where it means the same in every model that has it. A model's own
description or `examples` go first. `ITEMS`: an item of each kind that could really be made, in an order in which they
could. Everything else is put together from those by `of_schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import to_jsonable_python

from usp.model import KINDS

MOMENT: Final = "2026-01-01T12:00:00Z"
ID: Final = "7f6c2f0e-3a57-4f0c-9d0b-1c9a7e4b2a11"
DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"
TLS_KEY: Final = "-----BEGIN PRIVATE KEY-----\nMIGH...\n-----END PRIVATE KEY-----\n"
PUBLIC_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl sftp.internal"


class Word(NamedTuple):
    description: str
    example: Any


WORDS: Final[Mapping[str, Word]] = {
    "account_repository": Word("The Account Repository, by id or name", "partners"),
    "action": Word("What happened, such as item.update, login.failed or push", "item.update"),
    "account": Word("The Account, if there is one", "acme"),
    "address": Word("The IP address to listen on", "0.0.0.0"),  # noqa: S104  (an example)
    "withhold_banner": Word("Whether partners are turned away at once while the target is out of reach", True),
    "alternates": Word("More addresses of the same target", [{"host": "10.0.0.2", "port": 22}]),
    "connection_reuse": Word("Whether sessions with the Rule's credentials share connections to the target", False),
    "sessions_per_connection": Word("How many sessions share one, with connection_reuse", 8),
    "algorithms": Word("SSH algorithms; without them those of profile 'modern'", {}),
    "at": Word("When", MOMENT),
    "author": Word("Who did it", "alice"),
    "bits": Word("How long the key is", 256),
    "bytes_in": Word("Bytes from the partner", 1048576),
    "bytes_out": Word("Bytes to the partner", 2048),
    "rate_in": Word("Bytes per second from the partner, just now", 0.0),
    "rate_out": Word("Bytes per second to the partner, just now", 51200.0),
    "file": Word("Of the files that are open, the one that was opened last", "/in/orders.csv"),
    "direction": Word("Of that file: upload, download or both", "download"),
    "catalog_revision": Word("The catalog that it was made from", 42),
    "certificate": Word("PEM", CERTIFICATE),
    "changed": Word("Whether anything would be different", True),
    "checked_at": Word("When a manager last asked it", MOMENT),
    "ciphers": Word("Ciphers", ["aes128-gcm@openssh.com"]),
    "client": Word("The Proxy Client", "usp-client"),
    "code": Word("Which failure it is; stable", "item.invalid"),
    "comment": Word("Why, in the author's words", "new partner"),
    "created_at": Word("When it was made", MOMENT),
    "description": Word("For people; has no effect", ""),
    "current": Word("The present password", "correct horse battery staple"),
    "desired": Word("The version that is wanted there", 7),
    "detail": Word("More about it", {"revision": 42}),
    "distribution": Word("Whether alternates wait, or logins are shared out by weight", "ordered"),
    "digest": Word("Of the content: equal digests are equal configurations", DIGEST),
    "draining": Word("Whether it is shutting down: live sessions go on, new ones are refused", False),
    "email": Word("Where this person is reached", "alice@example.com"),
    "enabled": Word("Whether it is in use", True),
    "errors": Word("What is wrong, and where", []),
    "expires_at": Word("When it ends by itself", MOMENT),
    "facts": Word("Read out of keys and certificates", {}),
    "fingerprint": Word("As ssh-keygen -l shows it", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
    "full_name": Word("The person's name", "Alice Example"),
    "failed_at": Word("When it last failed", MOMENT),
    "failures": Word("How often it failed of late", 5),
    "has_password": Word("Whether they can log in with a password, too", True),
    "has_totp": Word("Whether their logins need a code of a second factor, too", False),
    "host": Word("Host name or IP address", "sftp.internal"),
    "host_key_types": Word("Host key algorithms", ["ssh-ed25519"]),
    "id": Word("Never changes, not even when the name does", ID),
    "hops": Word("What was tried, one after another", []),
    "host_keys": Word("Host keys", []),
    "inbound_node": Word("The Inbound Node, if one takes it", "partners"),
    "inbound_nodes": Word("Inbound Nodes, by id or name", ["partners"]),
    "ip_filter": Word("The IP Filter, by id or name", "everybody"),
    "items": Word("The entries of this page", []),
    "kex": Word("Key exchange methods", ["curve25519-sha256"]),
    "key": Word("The id or the name of the item", "partners"),
    "kind": Word("The kind of item", "listeners"),
    "links": Word("Live connections of Proxy Clients", []),
    "listener": Word("The Listener", "partners"),
    "listeners": Word("Its listening ports", []),
    "locked_until": Word("No login is tried before", None),
    "loc": Word("The way to it: names of fields, numbers in lists", ["allow", 0]),
    "macs": Word("Message authentication codes", ["hmac-sha2-256-etm@openssh.com"]),
    "msg": Word("What is wrong with it", "is required"),
    "name": Word("Its name", "partners"),
    "next": Word("`after` of the next page; null: there is none", None),
    "node": Word("The Inbound Node", "partners"),
    "number": Word("Counts up", 7),
    "network": Word("The network that decides", "192.0.2.0/24"),
    "ok": Word("Whether all is well", True),
    "outbound_nodes": Word("Outbound Nodes, by id or name", ["sftp-internal"]),
    "password": Word("The password", "correct horse battery staple"),
    "peer": Word("The address it came from", "192.0.2.7"),
    "pid": Word("The process; null: it does not run", 4711),
    "port": Word("TCP port", 2222),
    "priority": Word("Nodes are tried highest first", 0),
    "private_key": Word("The private key", None),
    "proxy_client": Word("The Proxy Client, by id or name; goes with a tunnel", "usp-client"),
    "proxy_server": Word("The Proxy Server, by id or name", "usp-server"),
    "public_key": Word("One line, as in authorized_keys", PUBLIC_KEY),
    "pushed_at": Word("When it was last tried", MOMENT),
    "ready": Word("Whether it serves", True),
    "reason": Word("Why it is so, in a sentence; may be empty", ""),
    "restarts": Word("How often it had to be started again", 0),
    "revision": Word("The catalog's revision at which it last changed; also its ETag", 42),
    "role": Word("What may be done with it: everything, or reading", "admin"),
    "route": Word("The Route, by id or name", "partners"),
    "rule": Word("The Rule, by id or name", "partners"),
    "secrets": Word("Secret fields that changed", []),
    "seen_at": Word("When it last answered", MOMENT),
    "server": Word("The Proxy Server's name", "usp-server"),
    "sessions": Word("How many partners are connected", 3),
    "signature_types": Word("Signatures of logins with keys", ["ssh-ed25519"]),
    "since": Word("Since when, Unix time", 1767268800.0),
    "slot": Word("The worker's place", 0),
    "slots": Word("Its workers", []),
    "software": Word("Its release", "usp 0.1.0"),
    "source": Word("The partner's IP address", "192.0.2.7"),
    "send_proxy_v2": Word("Whether the target is told the partner's address by a PROXY header", False),
    "startup": Word("Whether it starts by itself", "auto"),
    "step": Word("Which step", "rule"),
    "steps": Word("What was decided, one step after another", []),
    "state": Word("How it is", "running"),
    "subject": Word("`user:NAME` or `address:ADDRESS`", "user:alice"),
    "target": Word("What it happened to", "listeners/partners"),
    "token": Word("The bearer token", "usp_CH3kS2sYkRZlyPqSJpvTtBXLyPGT2qGz6Q0Vv9uTnNA"),
    "text": Word("A sentence for people", "the IP Filter lets 192.0.2.7 in"),
    "tunnel": Word("The Tunnel, by id or name", "lan"),
    "tunnels": Word("Its ports for Proxy Clients", []),
    "type": Word("Which sort it is", "sftp"),
    "unreachable": Word("Servers that could not be asked, and why", {}),
    "updated_at": Word("When it was last changed", MOMENT),
    "updated_digest": Word("Of what a push would make now", DIGEST),
    "used_at": Word("When it was last used, within a minute or so", MOMENT),
    "user_id": Word("Whose it is", ID),
    "username": Word("The user's name", "alice"),
    "user": Word("What the partner logs in as", "acme"),
    "version": Word("The number of the configuration version", 7),
    "weight": Word("Its share of the logins; 0: when no other address is up", 1),
    "warnings": Word("What is probably not meant", []),
}

ITEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ca-certificates": {"name": "dmz", "certificate": CERTIFICATE},
    "tls-certificates": {"name": "manager", "certificate": CERTIFICATE, "private_key": TLS_KEY},
    "private-keys": {"name": "partners", "generate": "ed25519"},
    "public-keys": {"name": "sftp-internal", "public_key": PUBLIC_KEY},
    "ip-filters": {"name": "everybody", "block": ["198.51.100.0/24"], "default": "allow"},
    "account-repositories": {"name": "partners"},
    "accounts": {
        "name": "acme",
        "account_repository": "partners",
        "username": "acme",
        "password": "a secret of acme's",
    },
    "rules": {
        "name": "partners",
        "inbound_method": "password_or_public_key",
        "inbound_source": "account_repository",
        "account_repository": "partners",
        "outbound_credentials": "dedicated",
        "username": "gateway",
        "private_key": "partners",
        "policy": {
            "preset": "upload_only",
            "paths": [{"path": "~/in/**", "access": "allow"}, {"path": "/**", "access": "deny"}],
            "max_file_size": 2_000_000_000,
        },
        "scan": {"url": "icap://scanner.internal:1344/avscan", "max_size": 2_000_000_000},
    },
    "inbound-nodes": {"name": "partners", "ip_filter": "everybody", "host_keys": ["partners"], "rule": "partners"},
    "outbound-nodes": {"name": "sftp-internal", "host": "sftp.internal", "port": 22, "host_keys": ["sftp-internal"]},
    "routes": {"name": "partners", "inbound_nodes": ["partners"], "outbound_nodes": ["sftp-internal"]},
    "listeners": {"name": "partners", "port": 2222, "route": "partners", "default_outbound_node": "sftp-internal"},
    "proxy-servers": {
        "name": "usp-server",
        "host": "usp-server.dmz",
        "port": 8444,
        "ca_certificate": "dmz",
        "tls_certificate": "manager",
    },
    "tunnels": {"name": "lan", "proxy_server": "usp-server", "port": 2200, "private_key": "partners"},
    "proxy-clients": {"name": "usp-client", "tunnel": "lan", "public_key": "sftp-internal"},
    "deployments": {
        "name": "partners",
        "listener": "partners",
        "proxy_server": "usp-server",
        "tunnel": "lan",
        "proxy_client": "usp-client",
    },
}
"""kind -> fields of an item of it."""

_KIND_OF: Final = {model.__name__: kind for kind, model in KINDS.items()}


def of_parameter(path: str, name: str) -> Word | None:
    """A key that stands behind a kind, as in /tunnels/{name}, is the name of the kind's example."""
    before = path.partition(f"/{{{name}}}")[0].rpartition("/")[2]
    kind = {"servers": "proxy-servers"}.get(before, before)
    if kind in ITEMS and name in ("name", "key"):
        return Word(f"The id or the name of the {KINDS[kind].title}", ITEMS[kind]["name"])
    return WORDS.get(name)


def of_schema(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """Something that fits the schema. `name`: of the field that it is for."""
    if "$ref" in schema:
        return _of_model(schema["$ref"].rpartition("/")[2], schemas, name, depth)
    for given in ("examples", "enum"):
        if given in schema:
            return schema[given][0]
    if "const" in schema:
        return schema["const"]
    if name in WORDS and _fits(WORDS[name].example, schema):
        return WORDS[name].example
    if "default" in schema:
        return schema["default"]
    for alternatives in ("anyOf", "oneOf", "allOf"):
        if alternatives in schema:
            return of_schema(schema[alternatives][0], schemas, name, depth)
    return _of_type(schema, schemas, name, depth)


def _of_model(model: str, schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    schema = schemas[model]
    if model in _KIND_OF:
        return dict(ITEMS[_KIND_OF[model]])
    kind = _KIND_OF.get(model.removesuffix("Record"))
    if kind and model.endswith("Record"):
        return _record(kind, schema, schemas)
    if "enum" in schema and name in WORDS and WORDS[name].example in schema["enum"]:
        return WORDS[name].example
    return of_schema(schema, schemas, name, depth)


def _record(kind: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it is answered: its references are ids, its secrets null."""
    record: dict[str, Any] = {"kind": kind}
    for name, about in schema["properties"].items():
        field = KINDS[kind].model_fields.get(name)
        if about.get("type") == "null":
            record[name] = None
        elif name in ITEMS[kind]:
            record[name] = ITEMS[kind][name]
        elif field is not None:
            record[name] = to_jsonable_python(field.default)
        elif name not in record:
            record[name] = of_schema(about, schemas, name, 1)
    return record


def _of_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        return {field: of_schema(about, schemas, field, depth + 1) for field, about in fields.items()}
    if kind == "array":
        several = depth < 4 and not schema.get("prefixItems") and "items" in schema
        return [of_schema(schema["items"], schemas, name, depth + 1)] if several else []
    if kind == "string":
        return MOMENT if schema.get("format") == "date-time" else "text"
    return {"integer": max(1, schema.get("minimum", 1)), "number": 1.0, "boolean": True}.get(str(kind))


_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
}


def _fits(example: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a word's example is of the schema's type. Lists are made from their items, if there are any."""
    if "anyOf" in schema:
        return any(_fits(example, alternative) for alternative in schema["anyOf"])
    if schema.get("type") == "array":
        of_text = schema.get("items", {}).get("type") == "string"
        return isinstance(example, list) and bool(example) and of_text
    if schema.get("type") == "object" and "properties" in schema:
        return False
    if isinstance(example, bool):
        return schema.get("type") == "boolean"
    return isinstance(example, _PYTHON.get(str(schema.get("type")), ()))
