"""SFTP v3 packets (draft-ietf-secsh-filexfer-02): decoding and encoding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attrs:
    """File attributes (section 5) as far as they are known; None: not given."""

    size: int | None = None
    owner: tuple[int, int] | None = None  # uid, gid
    permissions: int | None = None
    times: tuple[int, int] | None = None  # atime, mtime, Unix seconds
