"""The virtual root: the partner's `/` is a directory at the target, and nothing that passes says so.

`seen` is a request as the partner means it, with whole paths: the home is `/`, and no `..` leads above it. Policy and
audit are about these. `sent` is the same request as the target gets it. Of the target's answers those that hold paths
are told in the partner's terms, or not at all if they lead out:

    answer   to                      what the partner gets
    ------   ---------------------   -------------------------------------------------------------------------
    NAME     realpath, expand-path   the path below the root; if it is not there (a symbolic link at the target
                                     leads out), the path that was asked about
    NAME     readlink                the link's text, whole ones from the root; PERMISSION_DENIED if it leads out
    NAME     readdir                 names; what a longname says of where a link leads is cut off
    STATUS   anything                the code, and if it is a bad one a text of ours: targets' own hold paths

A root may itself lead through symbolic links. The target's answer about it (realpath of `/`) says where it really is;
from then on, answers from there are told by their paths below it, too.

A symbolic link is sent with whole paths only, both within the root, whichever of the two the target takes for the link
(see `usp.sftp.ops`). What the target makes of links that are there already, only the target knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from usp.model import USERNAME_PATTERN
from usp.policy import ACCOUNT, OpClass
from usp.sftp import packets, wire
from usp.sftp.ops import EXTENSIONS, OPS, Packet, Status
from usp.sftp.packets import Request
from usp.sftp.paths import normalise
from usp.sftp.records import LeftBehind, Record, Scanned
from usp.sftp.wire import Reader

HOME: Final = b"/"
_SYMLINK: Final = OPS[20]
_READLINK: Final = OPS[19]
_READDIR: Final = OPS[12]
_REALPATH: Final = OPS[16]
_EXPAND_PATH: Final = EXTENSIONS[b"expand-path@openssh.com"]
_ARROW: Final = b" -> "
_FIXED: Final = frozenset({OpClass.DELETE, OpClass.RENAME, OpClass.RMDIR, OpClass.LINK})
_USERNAME: Final = re.compile(USERNAME_PATTERN)

TEXTS: Final[Mapping[int, str]] = {
    Status.NO_SUCH_FILE: "No such file",
    Status.PERMISSION_DENIED: "Permission denied",
    Status.FAILURE: "Failure",
    Status.BAD_MESSAGE: "Bad message",
    Status.NO_CONNECTION: "No connection",
    Status.CONNECTION_LOST: "Connection lost",
    Status.OP_UNSUPPORTED: "Operation unsupported",
}


def place(template: str, account: str) -> bytes | None:
    """Where the root of this account is; None: its name is none that may stand in a path."""
    if ACCOUNT in template and (account in (".", "..") or not _USERNAME.fullmatch(account)):
        return None
    return template.replace(ACCOUNT, account).encode()


class Root:
    """Of one channel. `path`: in normal form, from the target's root."""

    def __init__(self, path: bytes) -> None:
        self._path = path.rstrip(b"/")
        self._really = self._path

    # What the partner asks

    def seen(self, request: Request) -> Request:
        """With whole paths."""
        paths = request.paths
        if request.op is _EXPAND_PATH and (paths[0] == b"~" or paths[0].startswith(b"~/")):
            paths = (paths[0][1:],)  # nobody else has a home: ~name is a name
        elif request.op is _SYMLINK:
            text, link = paths
            paths = (text if text.startswith(b"/") else _above(_whole(link)) + b"/" + text, link)
        return request.on(tuple(map(_whole, paths)))

    def objection(self, seen: Request) -> str:
        """What is wrong with it; empty: nothing."""
        fixed = HOME in seen.paths and bool(seen.classes & _FIXED)
        return "the root cannot be moved, removed or linked" if fixed else ""

    def sent(self, seen: Request) -> Request:
        return seen.on(tuple(map(self.at_target, seen.paths)))

    def at_target(self, seen: bytes) -> bytes:
        """A whole path, as the target gets it."""
        return self._path + seen if seen != HOME else self._path or HOME

    # What the target answers

    def names(self, asked: Request, body: bytes) -> bytes:
        """The packet that the partner gets for a NAME (without its length) about what was asked: a NAME or a STATUS."""
        reader = Reader(body, 1)
        reader.u32()
        entries = [_entry(reader) for _ in range(reader.u32())]
        if asked.op is _READDIR:
            return _name(asked.id, [_listed(*entry) for entry in entries])
        (name, _, attrs), *_ = entries
        told = self._told(asked, name)
        if told is None:
            return status(asked.id, Status.PERMISSION_DENIED)
        return _name(asked.id, [(told, told, attrs)])

    def _told(self, asked: Request, name: bytes) -> bytes | None:
        if asked.op is _READLINK:
            if name.startswith(b"/"):
                return self._below(normalise(name))
            return name if _stays(asked.paths[0], name) else None
        found = normalise(name)
        if asked.op is _REALPATH and asked.paths == (HOME,) and found.startswith(b"/"):
            self._really = found.rstrip(b"/")
            return HOME
        return self._below(found) or asked.paths[0]

    def seen_in(self, record: Record) -> Record:
        """A record about what is at the target, with paths as the partner sees them."""
        if isinstance(record, Scanned):
            return replace(record, path=self._below(record.path) or record.path)
        if isinstance(record, LeftBehind):
            path, real = (self._below(each) or each for each in (record.path, record.real))
            return replace(record, path=path, real=real)
        return record

    def _below(self, path: bytes) -> bytes | None:
        """As the partner sees it; None: it is not within the root."""
        for top in (self._path, self._really):
            if path.rstrip(b"/") == top:
                return HOME
            if path.startswith(top + b"/"):
                return path[len(top) :]
        return None


def home(request_id: int) -> bytes:
    """The answer to home-directory, whoever is asked about."""
    return _name(request_id, [(HOME, HOME, wire.u32(0))])


def status(request_id: int, code: int) -> bytes:
    """A bad one, without the target's text."""
    return packets.status(request_id, code, TEXTS.get(code, TEXTS[Status.FAILURE]))


def _whole(path: bytes) -> bytes:
    return normalise(b"/" + path)


def _above(path: bytes) -> bytes:
    return path.rstrip(b"/").rpartition(b"/")[0]


def _stays(link: bytes, text: bytes) -> bool:
    """A link there with this relative text does not lead above the root."""
    depth = _above(link).count(b"/")
    for part in text.split(b"/"):
        depth += 0 if part in (b"", b".") else -1 if part == b".." else 1
        if depth < 0:
            return False
    return True


def _entry(reader: Reader) -> tuple[bytes, bytes, bytes]:
    return reader.string(), reader.string(), packets.read_attrs(reader)[0]


def _listed(name: bytes, long: bytes, attrs: bytes) -> tuple[bytes, bytes, bytes]:
    """An entry of a directory: a name has no `/`, and a line of `ls -l` ends with it, at most."""
    bare = name.rstrip(b"/").rpartition(b"/")[2]
    if bare != name:
        return bare, bare, attrs
    before, link, _ = long.partition(name + _ARROW)
    if link:
        return name, before + name, attrs
    return name, long if _ARROW in name else long.partition(_ARROW)[0], attrs


def _name(request_id: int, entries: list[tuple[bytes, bytes, bytes]]) -> bytes:
    parts = [wire.string(name) + wire.string(long) + attrs for name, long, attrs in entries]
    return wire.packet(Packet.NAME, wire.u32(request_id), wire.u32(len(parts)), *parts)
