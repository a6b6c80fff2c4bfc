"""What foreign exceptions mean: asyncssh's and the system's on one side, codes of `usp.errors` on the other.

Above `usp.ssh` nobody names an asyncssh exception. `outcome` is the one table from code to the word with which a
session ends. A Proxy Client tells why it could not open a connection in the reason text of the channel open failure
(RFC 4254, 5.1), led by one of our codes: `open_refusal` writes it, `target_failure` reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import asyncssh

from usp.errors import CODES, UspError
from usp.status import Outcome

OUTCOMES: Final[Mapping[str, Outcome]] = MappingProxyType(
    {
        "target.unreachable": Outcome.TARGET_UNREACHABLE,
        "target.refused": Outcome.TARGET_UNREACHABLE,
        "target.penalised": Outcome.TARGET_UNREACHABLE,
        "target.closed": Outcome.TARGET_CLOSED,
        "target.host_key_mismatch": Outcome.HOST_KEY_MISMATCH,
        "target.auth_denied": Outcome.TARGET_DENIED,
        "target.no_channel": Outcome.TARGET_DENIED,
        "target.no_sftp": Outcome.TARGET_DENIED,
        "target.algorithms": Outcome.TARGET_UNREACHABLE,
        "tunnel.down": Outcome.TUNNEL_DOWN,
        "tunnel.not_allowed": Outcome.TARGET_UNREACHABLE,
        "tunnel.key_mismatch": Outcome.TUNNEL_DOWN,
        "tunnel.hello_refused": Outcome.TUNNEL_DOWN,
        "sftp.protocol": Outcome.PROTOCOL_ERROR,
        "sftp.limit": Outcome.LIMIT,
        "internal": Outcome.INTERNAL,
    }
)
"""Total over the codes of sessions: those that begin with target., tunnel. or sftp., and `internal`."""

_FROM_CLIENT: Final = {
    "target.unreachable": asyncssh.OPEN_CONNECT_FAILED,
    "tunnel.not_allowed": asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
}
"""What a Proxy Client may say about a target -> the reason code that goes with it."""

_LONGEST: Final = 200


def outcome(error: UspError) -> Outcome:
    """How a session that failed with `error` ended."""
    return OUTCOMES.get(error.code, Outcome.INTERNAL)


def target_failure(error: BaseException, *, link_lost: bool = False) -> UspError:
    """Why the outbound half of a session did not come about. `link_lost`: its link is down by now."""
    if isinstance(error, UspError):
        return error
    if link_lost:
        return UspError("tunnel.down", "the tunnel link was lost")
    for kind, code, message in _TARGET:
        if isinstance(error, kind):
            return UspError(code, message or said(error))
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return _no_common_algorithm(error)
    if isinstance(error, asyncssh.ChannelOpenError):
        return _not_opened(error)
    if isinstance(error, asyncssh.Error):  # after OSError: a lost connection is both
        return UspError("target.refused", said(error))
    if isinstance(error, OSError):
        return UspError("target.unreachable", said(error))
    return UspError("internal", type(error).__name__)


_TARGET: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (asyncssh.HostKeyNotVerifiable, "target.host_key_mismatch", "the target's host key is not one of the pinned ones"),
    (asyncssh.PermissionDenied, "target.auth_denied", "the target refused the credentials"),
    (asyncio.TimeoutError, "target.unreachable", "the target did not answer in time"),
    (asyncssh.ConnectionLost, "target.refused", ""),
    (ConnectionResetError, "target.refused", ""),
)


def link_failure(error: BaseException | None) -> UspError:
    """Why a tunnel link did not come up, or went down. None: it was closed on purpose."""
    if error is None:
        return UspError("tunnel.down", "closed")
    if isinstance(error, UspError):
        return error
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return UspError("tunnel.key_mismatch", "the client's key is none of the configured Proxy Clients'")
    if isinstance(error, asyncssh.PermissionDenied):
        return UspError("tunnel.key_mismatch", "the client does not accept this tunnel's key")
    if isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error):
        return UspError("tunnel.key_mismatch", "the client's key is of another type than the configured ones")
    if isinstance(error, asyncio.TimeoutError):
        return UspError("tunnel.down", "the handshake took too long")
    return UspError("tunnel.down", said(error))


def is_probe(error: BaseException | None) -> bool:
    """Whether a connection that failed before its login ended like a load balancer's banner check: by going away."""
    return error is None or isinstance(error, (asyncssh.ConnectionLost, ConnectionError))


def open_refusal(error: UspError) -> asyncssh.ChannelOpenError:
    """The channel open failure in which a Proxy Client says why."""
    return asyncssh.ChannelOpenError(_FROM_CLIENT[error.code], f"{error.code}: {error.message}"[:_LONGEST])


def said(error: BaseException) -> str:
    """What a foreign exception says, fit for one line of a log: short and printable."""
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])


def _no_common_algorithm(error: asyncssh.KeyExchangeFailed) -> UspError:
    if "host key" in str(error):
        return UspError("target.host_key_mismatch", "the target has no host key of the pinned keys' types")
    return UspError("target.algorithms", said(error))


def _not_opened(error: asyncssh.ChannelOpenError) -> UspError:
    code, _, message = error.reason.partition(": ")
    if code in _FROM_CLIENT:
        return UspError(code, said(ValueError(message)))
    if error.reason == "SSH connection closed":
        return UspError("tunnel.down", "the tunnel link was lost")
    return UspError("target.refused", said(error))


assert set(OUTCOMES) <= set(CODES)
