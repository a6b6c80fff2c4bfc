"""The normal form of an SFTP path name (section 6.2): what is checked is what is forwarded.

Names are bytes: no encoding is assumed. `//`, `.` and `..` are resolved textually, as a client's own `cd ..` does; a
relative path stays relative to the target's home, so leading `..` stay too. The empty path is the home, ".".
A trailing slash is kept: it asks for a directory, and for what a symbolic link leads to.
"""

from __future__ import annotations


def normalise(path: bytes) -> bytes:
    """`path` in normal form. Doing it twice changes nothing."""
    absolute = path.startswith(b"/")
    kept: list[bytes] = []
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            kept.append(part)
        elif kept and kept[-1] != b"..":
            kept.pop()
        elif not absolute:
            kept.append(part)
    normal = b"/".join(kept)
    if path.endswith(b"/") and kept and kept[-1] != b"..":
        normal += b"/"
    return b"/" + normal if absolute else normal or b"."


def normalise_tilde(path: bytes) -> bytes:
    """The same for a path that may begin with `~` or `~user` (expand-path@openssh.com), which `..` must not undo."""
    home, slash, rest = path.partition(b"/")
    if not home.startswith(b"~"):
        return normalise(path)
    return home + slash + (normalise(rest.lstrip(b"/")) if rest.strip(b"/") else b"")


def problem(path: bytes, longest: int) -> str:
    """Why no target can have such a path; empty: nothing wrong."""
    if b"\0" in path:
        return "the path contains a NUL byte"
    if len(path) > longest:
        return f"the path is longer than {longest} bytes"
    return ""
