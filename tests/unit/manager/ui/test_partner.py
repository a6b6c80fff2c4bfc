"""The partner kit: what it says is what clients understand."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from base64 import b64decode, b64encode
from dataclasses import replace

import asyncssh

from tests.catalogs import sample
from tests.unit.manager.site import PRIVATE, PUBLIC
from usp.manager.catalog import Catalog
from usp.manager.keys import facts
from usp.manager.ui.partner import Kit, accounts, kit, listeners, nodes, winscp_fingerprint
from usp.model import Listener, PrivateKey, Record
from usp.secret import Secret

LINE = " ".join(PUBLIC.split()[:2])


def catalog() -> Catalog:
    """The sample, with a real host key; the other one is of another node."""
    found = sample()
    records = dict(found.records)
    for record in found.of_kind("private-keys"):
        item = PrivateKey(name=record.item.name, private_key=Secret(PRIVATE.reveal()))
        known = facts(item) if record.item.name == "host-key" else {}
        records[record.id] = record.model_copy(update={"item": item, "facts": known})
    return Catalog(1, records)


def made(host: str = "sftp.example.com", **port: int) -> Kit:
    found = catalog()
    return replace(kit(found, found.get("listeners", "sftp"), found.get("accounts", "acme"), host), **port)  # type: ignore[arg-type]


def test_known_hosts_are_understood_by_ssh() -> None:
    found = made()
    assert (found.host, found.port, found.username) == ("sftp.example.com", 2222, "acme@example.org")
    assert found.known_hosts == f"[sftp.example.com]:2222 {LINE}\n"
    known = asyncssh.import_known_hosts(found.known_hosts)
    trusted, *_ = known.match("sftp.example.com", "192.0.2.1", 2222)
    assert [key.get_fingerprint() for key in trusted] == [found.keys[0].fingerprint]
    assert made(port=22).known_hosts == f"sftp.example.com {LINE}\n"


def test_snippets() -> None:
    found = made()
    assert found.openssh == "sftp -P 2222 acme@example.org@sftp.example.com"
    assert "HostKeyAlgorithms ssh-ed25519\n" in found.ssh_config
    digest = b64encode(hashlib.sha256(b64decode(LINE.split()[1])).digest()).decode()
    assert winscp_fingerprint(found.keys[0]) == f"ssh-ed25519 255 {digest}"
    assert found.winscp == (
        f'open sftp://acme%40example.org@sftp.example.com:2222/ -hostkey="ssh-ed25519 255 {digest}"\n'
    )
    assert winscp_fingerprint(replace(found.keys[0], type="ssh-rsa", bits=3072)).startswith("ssh-rsa 3072 ")
    server = ET.fromstring(found.filezilla).find("Servers/Server")
    assert server is not None
    assert (server.findtext("Host"), server.findtext("Port"), server.findtext("User")) == (
        "sftp.example.com",
        "2222",
        "acme@example.org",
    )
    assert "[2001:db8::1]" in made("2001:db8::1").openssh
    assert made("2001:db8::1").place == "[2001:db8::1]:2222"


def test_a_listener_without_keys() -> None:
    found = sample()
    empty = kit(found, found.get("listeners", "sftp"), None, "h")
    assert (empty.username, empty.keys, empty.known_hosts) == ("USERNAME", (), "")
    assert "hostkey" not in empty.winscp
    assert "HostKeyAlgorithms" not in empty.ssh_config
    tcp = found.get("listeners", "tcp").item
    assert isinstance(tcp, Listener)
    assert nodes(found, tcp) == []


def test_who_may_log_in_where() -> None:
    found = catalog()
    sftp = found.get("listeners", "sftp").item
    assert isinstance(sftp, Listener)
    assert accounts(found, sftp) == [], "its Rules look into no repository"
    assert [each.item.name for each in listeners(found, None)] == ["sftp"]
    assert listeners(found, found.get("accounts", "acme")) == []
    rules = {record.item.name: record.id for record in found.of_kind("rules")}
    node = found.get("inbound-nodes", "high")
    changed = node.model_copy(update={"item": node.item.model_copy(update={"rule": rules["dedicated"]})})
    after = Catalog(2, {**found.records, node.id: changed})
    assert [each.item.name for each in accounts(after, sftp)] == ["acme"]
    assert [each.item.name for each in listeners(after, after.get("accounts", "acme"))] == ["sftp"]
    assert [each.name for each in nodes(after, sftp)] == ["high", "low"]


def test_only_host_keys_are_told() -> None:
    found = catalog()
    id = found.get("private-keys", "host-key").id
    record = found.records[id]
    other = Record(**{**dict(record), "item": found.get("public-keys", "client-key").item})
    assert kit(Catalog(1, {**found.records, id: other}), found.get("listeners", "sftp"), None, "h").keys == ()
