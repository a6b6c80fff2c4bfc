"""The partner kit: what a partner needs to know of a listener, ready to be copied into their client. Pure.

Nothing of it is secret: names, ports, and the host keys that the partner will be shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.model import Account, InboundNode, Listener, ListenerType, PrivateKey, Record, Route, Rule


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that the partner may be shown. `line` without comment; `bits` as WinSCP writes it."""

    type: str
    bits: int
    fingerprint: str
    line: str


@dataclass(frozen=True, slots=True)
class Kit:
    host: str
    port: int
    username: str
    keys: tuple[HostKey, ...]

    @property
    def place(self) -> str:
        """As known_hosts has it."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def known_hosts(self) -> str:
        return "".join(f"{self.place} {key.line}\n" for key in self.keys)

    @property
    def openssh(self) -> str:
        return f"sftp -P {self.port} {self.username}@{_bracketed(self.host)}"

    @property
    def ssh_config(self) -> str:
        types = ",".join(key.type for key in self.keys)
        lines = (
            f"Host {self.host}",
            f"    Port {self.port}",
            f"    User {self.username}",
            "    StrictHostKeyChecking yes",
            *((f"    HostKeyAlgorithms {types}",) if types else ()),
        )
        return "\n".join(lines) + "\n"

    @property
    def winscp(self) -> str:
        address = f"sftp://{self.username.replace('@', '%40')}@{_bracketed(self.host)}:{self.port}/"
        return f"open {address}" + "".join(f' -hostkey="{winscp_fingerprint(key)}"' for key in self.keys[:1]) + "\n"

    @property
    def filezilla(self) -> str:
        """A file for File > Import."""
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<FileZilla3>
  <Servers>
    <Server>
      <Host>{escape(self.host)}</Host>
      <Port>{self.port}</Port>
      <Protocol>1</Protocol>
      <Type>0</Type>
      <User>{escape(self.username)}</User>
      <Logontype>2</Logontype>
      <Name>{escape(self.host)}</Name>
    </Server>
  </Servers>
</FileZilla3>
"""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def winscp_fingerprint(key: HostKey) -> str:
    """`ssh-ed25519 255 AbC...=`: WinSCP counts the bits of an Ed25519 key as 255."""
    bits = 255 if key.type == "ssh-ed25519" else key.bits
    digest = key.fingerprint.removeprefix("SHA256:")
    return f"{key.type} {bits} {digest}{'=' * (-len(digest) % 4)}"


def kit(catalog: Catalog, listener: Record, account: Record | None, host: str) -> Kit:
    """`host`: by which the partner reaches the listener."""
    item = item_of(Listener, listener)
    username = item_of(Account, account).username if account else "USERNAME"
    return Kit(host, item.port, username, tuple(_keys(catalog, item)))


def _keys(catalog: Catalog, listener: Listener) -> Iterator[HostKey]:
    seen = set()
    for node in nodes(catalog, listener):
        for id in node.host_keys:
            facts = catalog.records[id].facts
            line = str(facts.get("public_key", ""))
            if line and line not in seen and isinstance(catalog.records[id].item, PrivateKey):
                seen.add(line)
                type = line.partition(" ")[0]
                yield HostKey(type, int(facts.get("bits", 0)), str(facts.get("fingerprint", "")), line)


def nodes(catalog: Catalog, listener: Listener) -> list[InboundNode]:
    """The Inbound Nodes of a listener that are in use, those first that are tried first."""
    if listener.route is None:
        return []
    route = item_of(Route, catalog.records[listener.route])
    found = [item_of(InboundNode, catalog.records[id]) for id in route.inbound_nodes]
    return sorted((node for node in found if node.enabled), key=lambda node: -node.priority)


def accounts(catalog: Catalog, listener: Listener) -> list[Record]:
    """The Accounts that may log in there, by name."""
    rules = [item_of(Rule, catalog.records[node.rule]) for node in nodes(catalog, listener)]
    repositories = {rule.account_repository for rule in rules}
    return [
        record
        for record in catalog.of_kind(Account.kind)
        if item_of(Account, record).account_repository in repositories
    ]


def listeners(catalog: Catalog, account: Record | None) -> list[Record]:
    """The sftp Listeners, or those at which the Account may log in."""
    found = [record for record in catalog.of_kind(Listener.kind) if item_of(Listener, record).type is ListenerType.SFTP]
    if account is None:
        return found
    return [record for record in found if account in accounts(catalog, item_of(Listener, record))]
