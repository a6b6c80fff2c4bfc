"""What asyncssh does at every login for nothing, left out.

It makes the text of its debug messages, and of one for every packet, before it asks whether anybody wants them; and it
looks every character of user names and passwords up in Unicode tables, where ASCII has nothing to prepare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncssh import auth as _auth
from asyncssh import connection as _connection
from asyncssh.logging import SSHLogger
from asyncssh.saslprep import saslprep as _saslprep

PACKETS: Final = 3
"""asyncssh's own debug level from which it tells of packets."""

if TYPE_CHECKING:
    _Base = _connection.SSHConnection
else:
    _Base = object


class LeanLogger(SSHLogger):
    """It asks first. Its children are of its kind."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)


class Lean(_Base):
    """Mixed in front of SSHClientConnection or SSHServerConnection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logger = LeanLogger(self._logger._logger, context=self._logger._context)

    def _log_packet(self, *args: Any) -> None:
        if SSHLogger._debug_level >= PACKETS:
            super()._log_packet(*args)


def saslprep(text: str) -> str:
    """RFC 4013. Printable ASCII is what it is: nothing of it is mapped, normalised, prohibited or right to left."""
    return text if text.isascii() and text.isprintable() else _saslprep(text)


def _install() -> None:
    """In the modules that use it: there is no other way in."""
    for module in (_auth, _connection):
        if getattr(module, "saslprep", None) is _saslprep:
            module.saslprep = saslprep  # type: ignore[attr-defined]


_install()
