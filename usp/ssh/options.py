"""What each of the four SSH legs offers and accepts, spelled out: nothing comes from anybody's files.

asyncssh fills in what is left out from the user's home (`~/.ssh/config`, `known_hosts`, default keys, the agent), so
nothing is left out. Options are made once per node, target or tunnel (30-100 us, keys are parsed before); a connection
gets a shallow copy (`one_use`) because asyncssh keeps state of a connection in them: the future that waits for
the login, and the signature algorithm that was agreed on, which it stores in the *shared* key pair.

No compression, no GSSAPI, no host-based login, no agent, X11, pty or scp; SHA-1 and CBC in the profile `legacy` only
(`usp.algorithms`). Terrapin is countered by strict kex, which asyncssh always offers.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncssh
from asyncssh import kex as _kex

from usp.algorithms import MODERN, Algorithms
from usp.errors import UspError
from usp.secret import Secret
from usp.ssh import keys

VERSION: Final = "USP"
"""Software version of our identification string (RFC 4253, 4.2): no release number for strangers."""

_KEX_HERE: Final = {name.decode("ascii") for name in _kex.get_kex_algs()}
"""The post-quantum hybrids need a recent OpenSSL or liboqs: of a profile's they are offered where they are there."""
SIGNATURES: Final = MODERN.host_key_types

TUNNEL_WINDOW: Final = 4 << 20
"""Receive window per forwarded connection: what one of them may have under way, 160 Mbit/s at 200 ms."""
TUNNEL_PACKET: Final = 256 << 10
"""Both ends are ours, so channel packets are not bound to the usual 32 KiB, and their cost per byte nearly vanishes."""
TUNNEL_USER: Final = "usp"
"""User name in the tunnel's login. It means nothing: keys identify both ends."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a leg may take to log in, and how a dead peer is found out.

    A peer that was silent for `keepalive_interval` is asked for a sign of life; after `keepalive_count` intervals of
    silence it is given up. An interval of 0 switches that off.
    """

    login_timeout: float = 30.0
    keepalive_interval: float = 5.0
    keepalive_count: int = 3


Thing = TypeVar("Thing")
Options = TypeVar("Options", asyncssh.SSHServerConnectionOptions, asyncssh.SSHClientConnectionOptions)


def partner_facing(
    host_keys: Sequence[Secret], algorithms: Algorithms, timing: Timing
) -> asyncssh.SSHServerConnectionOptions:
    """Server towards partners. Which logins are possible is for the `SSHServer` object to say, per connection.

    keyboard-interactive stays on beside password: it asks for the same password, and some clients know nothing else.
    Of several host keys of one type, the first is used, and all are announced (`usp.ssh.hostkeys`).
    """
    private = [keys.parse_private(text) for text in host_keys]
    options = _server(private, _offer(algorithms), timing, algorithms.offer().host_key_types, announce=True)
    if not options.server_host_keys:
        raise UspError("key.algorithms", "no host key is of a permitted host key type")
    return options


def target_facing(
    host_keys: Sequence[str], algorithms: Algorithms, timing: Timing
) -> asyncssh.SSHClientConnectionOptions:
    """Client towards a target whose keys are pinned. User name and credentials come per connection."""
    pinned = [keys.parse_public(line) for line in host_keys]
    return _client(pinned, _offer(algorithms), timing, algorithms.offer().host_key_types)


def scanning(types: Sequence[str], algorithms: Algorithms, timing: Timing) -> asyncssh.SSHClientConnectionOptions:
    """Towards a target that is only asked for its key (`usp.ssh.connect.host_key`): any will do, since there is nothing
    with which a login could go on."""
    options = _client_with((), _offer(algorithms), timing, types)
    options.preferred_auth = []
    options.known_hosts = None
    return options


def tunnel_server_end(
    private_key: Secret, client_keys: Sequence[str], timing: Timing
) -> asyncssh.SSHClientConnectionOptions:
    """usp-server's end of a tunnel: SSH client, though it accepted the connection. Pins the Proxy Clients' keys."""
    pinned = [keys.parse_public(line) for line in client_keys]
    options = _client(pinned, _TUNNEL_OFFER, timing, ())
    options.username = TUNNEL_USER
    options.client_keys = list(keys.pairs([keys.parse_private(private_key)]))
    options.preferred_auth = ["publickey"]
    options.disable_trivial_auth = True
    return options


def tunnel_client_end(private_key: Secret, timing: Timing) -> asyncssh.SSHServerConnectionOptions:
    """usp-client's end of a tunnel: SSH server, though it made the connection. Its own key is the host key."""
    options = _server([keys.parse_private(private_key)], _TUNNEL_OFFER, timing, SIGNATURES)
    options.password_auth = options.kbdint_auth = False
    return options


def one_use(options: Options) -> Options:
    """A copy for one connection; what is set on it stays there."""
    used = copied(options)
    if isinstance(used, asyncssh.SSHServerConnectionOptions):
        host_keys = used.server_host_keys
        used.server_host_keys = OrderedDict((name, copied(pair)) for name, pair in host_keys.items())
    elif used.client_keys:
        used.client_keys = [copied(pair) for pair in used.client_keys]
    return used


def copied(thing: Thing) -> Thing:
    """What `copy.copy` makes of an object whose state is its attributes, without asking it how."""
    made = object.__new__(type(thing))
    made.__dict__.update(thing.__dict__)
    return made


def _offer(algorithms: Algorithms) -> dict[str, list[str]]:
    offer = algorithms.offer()
    return {
        "kex_algs": list(offer.kex if algorithms.kex else (name for name in offer.kex if name in _KEX_HERE)),
        "encryption_algs": list(offer.ciphers),
        "mac_algs": list(offer.macs),
        "signature_algs": list(offer.signature_types),
    }


_TUNNEL_OFFER: Final = _offer(Algorithms())


def _common(offer: dict[str, list[str]], timing: Timing) -> dict[str, Any]:
    return {
        **offer,
        "config": None,
        "compression_algs": ["none"],
        "host_based_auth": False,
        "gss_host": None,
        "gss_kex": False,
        "gss_auth": False,
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "x11_forwarding": False,
        "agent_forwarding": False,
        "encoding": None,
        "login_timeout": timing.login_timeout,
        "keepalive_interval": timing.keepalive_interval,
        # asyncssh gives up one interval after its last request
        "keepalive_count_max": max(1, timing.keepalive_count - 1),
    }


def _server(
    private: Sequence[asyncssh.SSHKey],
    offer: dict[str, list[str]],
    timing: Timing,
    types: Sequence[str],
    *,
    announce: bool = False,
) -> asyncssh.SSHServerConnectionOptions:
    try:
        options = asyncssh.SSHServerConnectionOptions(
            **_common(offer, timing),
            server_version=VERSION,
            server_host_keys=list(private),
            send_server_host_keys=announce,
            authorized_client_keys=None,
            known_client_hosts=None,
            allow_scp=False,
            allow_pty=False,
            line_editor=False,
            rdns_lookup=False,
        )
    except ValueError as error:
        raise UspError("key.algorithms", str(error)) from None
    options.server_host_keys = OrderedDict(
        (name, pair) for name, pair in options.server_host_keys.items() if name.decode("ascii") in types
    )
    options.all_server_host_keys = OrderedDict(
        (data, pair)
        for data, pair in options.all_server_host_keys.items()
        if any(name.decode("ascii") in types for name in pair.host_key_algorithms)
    )
    return options


def _client(
    pinned: Sequence[asyncssh.SSHKey], offer: dict[str, list[str]], timing: Timing, host_key_types: Sequence[str]
) -> asyncssh.SSHClientConnectionOptions:
    usable = {name.decode("ascii") for key in pinned for name in key.sig_algorithms}
    types = [name for name in host_key_types or SIGNATURES if name in usable]
    if not types:
        raise UspError("key.algorithms", "no pinned host key is of a permitted host key type")
    return _client_with(pinned, offer, timing, types)


def _client_with(
    pinned: Sequence[asyncssh.SSHKey], offer: dict[str, list[str]], timing: Timing, types: Sequence[str]
) -> asyncssh.SSHClientConnectionOptions:
    os.environ.setdefault("LOGNAME", TUNNEL_USER)  # asyncssh asks for it, though nothing uses it, and fails without
    try:
        options = asyncssh.SSHClientConnectionOptions(
            **_common(offer, timing),
            client_version=VERSION,
            known_hosts=(tuple(pinned), (), ()),
            server_host_key_algs=list(types),
            username=TUNNEL_USER,
            client_username=TUNNEL_USER,
            client_keys=None,
            agent_path=None,
            pkcs11_provider=None,
            preferred_auth=["publickey", "keyboard-interactive", "password"],
            request_pty=False,
            env=None,
            send_env=None,
        )
    except ValueError as error:
        raise UspError("key.algorithms", str(error)) from None
    assert options.agent_path is None
    assert options.client_keys is None
    return options
