"""Every failure of the suite has one dotted code, and every code is listed here, once.

Three words: a *Problem* is one located thing wrong with input (a value, collected in lists, never raised); a
*UspError* is a failure that stops what was asked (raised); a bug is an `assert`. Edges (REST, SSH, exit codes)
translate by `Kind`, through one table each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What sort of failure it is: the one thing that an edge needs to know in order to answer."""

    INVALID = "invalid"  # the input is wrong; say where
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # it clashes with what is there (name taken, still referenced, older version)
    STALE = "stale"  # the caller's revision is not the current one
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    LIMITED = "limited"  # too many, too fast: later
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"  # a peer, a target or a database is away; try again
    INTERNAL = "internal"


CODES: Final[dict[str, tuple[Kind, str]]] = {
    # settings and command line
    "settings.invalid": (Kind.INVALID, "the configuration file or an override of it is wrong"),
    "settings.unreadable": (Kind.INVALID, "the configuration file, or a file that it names, cannot be read"),
    # items
    "item.invalid": (Kind.INVALID, "the item breaks a rule of its kind"),
    "item.not_found": (Kind.NOT_FOUND, "no such item"),
    "item.name_taken": (Kind.CONFLICT, "another item of this kind has that name"),
    "item.referenced": (Kind.CONFLICT, "other items refer to this one"),
    "item.stale": (Kind.STALE, "the item was changed since it was read"),
    "kind.unknown": (Kind.NOT_FOUND, "there is no such kind of item"),
    "catalog.conflict": (Kind.CONFLICT, "somebody else wrote at the same moment; read again and repeat"),
    "compile.invalid": (Kind.INVALID, "the configuration cannot be compiled for this server"),
    # push and control
    "push.rejected": (Kind.CONFLICT, "the server refused the configuration; the old one stays in force"),
    "push.older": (Kind.CONFLICT, "the server already has a newer version"),
    "push.wrong_server": (Kind.CONFLICT, "the snapshot is meant for another server"),
    "server.unreachable": (Kind.UNAVAILABLE, "the server's management port does not answer"),
    "server.identity": (Kind.FORBIDDEN, "the peer's certificate does not carry the expected identity"),
    "server.restarted": (Kind.UNAVAILABLE, "the server has restarted since it was looked at; look again"),
    "server.draining": (Kind.UNAVAILABLE, "the server is shutting down"),
    "deployment.unknown": (Kind.NOT_FOUND, "the server has no such listener or tunnel"),
    "probe.busy": (Kind.UNAVAILABLE, "too many tests of paths at once; try again"),
    "session.unknown": (Kind.NOT_FOUND, "the server has no such session"),
    "audit.chain": (Kind.CONFLICT, "audit lines were changed, removed, inserted or reordered"),
    "penalty.unknown": (Kind.NOT_FOUND, "nothing is held against it"),
    "listener.unbindable": (Kind.CONFLICT, "the listener's address cannot be bound"),
    "key.unusable": (Kind.INVALID, "a key or certificate cannot be parsed"),
    "key.algorithms": (Kind.INVALID, "an SSH algorithm is unknown, or none fits the keys"),
    # sessions
    "target.unreachable": (Kind.UNAVAILABLE, "no connection to the target"),
    "target.refused": (Kind.UNAVAILABLE, "the target closed the connection before or during the login"),
    "target.penalised": (Kind.UNAVAILABLE, "the target refuses this gateway's address for a while"),
    "target.closed": (Kind.UNAVAILABLE, "the target closed the connection in the middle of the session"),
    "target.host_key_mismatch": (Kind.FORBIDDEN, "the target's host key is not the pinned one"),
    "target.auth_denied": (Kind.UNAUTHENTICATED, "the target refused the credentials"),
    "target.no_channel": (Kind.UNAVAILABLE, "the target opens no further channel on this connection"),
    "target.no_sftp": (Kind.UNAVAILABLE, "the target does not offer the sftp subsystem"),
    "target.algorithms": (Kind.UNAVAILABLE, "no SSH algorithm in common with the target"),
    "tunnel.down": (Kind.UNAVAILABLE, "no live tunnel link to the Proxy Client"),
    "tunnel.not_allowed": (Kind.FORBIDDEN, "the Proxy Client's allow list does not permit this target"),
    "tunnel.key_mismatch": (Kind.FORBIDDEN, "the peer's key on the tunnel is not the configured one"),
    "tunnel.hello_refused": (Kind.FORBIDDEN, "the tunnel's hello was refused"),
    "scan.failed": (Kind.UNAVAILABLE, "the content scanner gave no verdict"),
    "sftp.protocol": (Kind.INVALID, "malformed SFTP"),
    "sftp.limit": (Kind.LIMITED, "too many SFTP requests open at once"),
    # administration
    "auth.invalid": (Kind.UNAUTHENTICATED, "wrong user name or password, or token not valid"),
    "auth.totp": (Kind.UNAUTHENTICATED, "the login needs a code of the second factor, too (`totp`)"),
    "oidc.refused": (Kind.UNAUTHENTICATED, "what the OpenID provider says does not let this person in"),
    "oidc.unavailable": (Kind.UNAVAILABLE, "the OpenID provider does not answer as it should"),
    "auth.forbidden": (Kind.FORBIDDEN, "the role does not allow this"),
    "auth.locked": (Kind.LIMITED, "too many failed logins; wait before the next one"),
    "auth.busy": (Kind.UNAVAILABLE, "too many logins at this moment; try again"),
    "auth.forgery": (Kind.FORBIDDEN, "the request was not made by a page of this manager's web UI"),
    "auth.address": (Kind.FORBIDDEN, "the manager's IP Filter does not permit this address"),
    "guard.lockout": (Kind.CONFLICT, "the IP Filter would lock out whoever asks for it"),
    "guard.in_use": (Kind.CONFLICT, "the IP Filter guards UI and API"),
    "version.not_found": (Kind.NOT_FOUND, "the server has no such configuration version"),
    "version.unreadable": (Kind.CONFLICT, "the version was made by another release, which had other configuration"),
    "rollout.not_found": (Kind.NOT_FOUND, "there is no such push to several servers"),
    "user.exists": (Kind.CONFLICT, "a user with that name exists"),
    "token.not_found": (Kind.NOT_FOUND, "no such API token"),
    "user.not_found": (Kind.NOT_FOUND, "no such user"),
    "user.last_admin": (Kind.CONFLICT, "nobody else could administer then: this is the last enabled administrator"),
    "factor.exists": (Kind.CONFLICT, "the user has a second factor already"),
    "factor.not_found": (Kind.NOT_FOUND, "the user has no second factor"),
    "login.not_found": (Kind.NOT_FOUND, "no such login"),
    "lockout.not_found": (Kind.NOT_FOUND, "nothing is counted against this user or address"),
    "token.exists": (Kind.CONFLICT, "the user has a token of that name"),
    "request.invalid": (Kind.INVALID, "the request is malformed"),
    "request.unknown": (Kind.NOT_FOUND, "there is nothing at this address"),
    "request.too_large": (Kind.TOO_LARGE, "the request's body is too large"),
    "manager.unreachable": (Kind.UNAVAILABLE, "the manager does not answer"),
    "database.unavailable": (Kind.UNAVAILABLE, "the database does not answer"),
    "database.outcome_unknown": (
        Kind.UNAVAILABLE,
        "the database went away at the commit: look before repeating",
    ),
    "database.in_use": (Kind.CONFLICT, "another usp-manager serves from this SQLite database"),
    "database.not_empty": (Kind.CONFLICT, "the database to copy into is not empty"),
    "database.schema": (Kind.UNAVAILABLE, "the database's schema is not the one this manager needs"),
    "vault.wrong_kek": (Kind.INVALID, "the key-encryption key does not open this database's secrets"),
    "vault.damaged": (Kind.INTERNAL, "a sealed value of the database cannot be opened"),
    "webhook.exists": (Kind.CONFLICT, "there is a webhook of that name"),
    "webhook.not_found": (Kind.NOT_FOUND, "there is no such webhook"),
    "internal": (Kind.INTERNAL, "an unexpected failure; the log has the details"),
}
"""code -> (kind, meaning). `docs/errors.md` is generated from it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with input. `loc` is the way to it: ("listeners", 0, "port"); `msg` says what to do.

    `at` is its place in a text, if it came from one: `FILE:LINE:COL`, or the name of an environment variable.
    """

    loc: tuple[str | int, ...]
    msg: str
    at: str = ""

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.loc)
        return ": ".join(part for part in (self.at, where, self.msg) if part)


class UspError(Exception):
    """A failure with a code of `CODES`, a sentence for the reader, and the problems that led to it, if located.

    `facts` are public values for the log (names, addresses, numbers), never secrets.
    """

    def __init__(self, code: str, message: str = "", *, problems: Iterable[Problem] = (), **facts: object) -> None:
        assert code in CODES, code
        self.code = code
        self.kind, self.meaning = CODES[code]
        self.message = message or self.meaning
        self.problems = tuple(problems)
        self.facts = facts
        super().__init__(self.message)

    def __str__(self) -> str:
        return "; ".join([self.message, *map(str, self.problems)])
