"""The policy seam: each request that names a path, or works on one through a handle, is decided here before it passes.

READ and CLOSE are not asked about: the OPEN that gave the handle was, and what it was not opened for is refused
(`holds_to_open`). Of WRITE only the size is asked about (`max_size`). For
operations on a handle `request.paths` holds the path with which it was opened. Paths are in normal form
(`usp.sftp.paths`); a trailing slash is no part of a name. Relative paths are relative to the target's home, which is
known once the target has told it (REALPATH of "."). What cannot be decided without it is denied.

`Compiled` is a Rule's policy (`usp.policy`) made ready. What each request needs:

    request             on its paths, in order                     besides
    -----------------   ----------------------------------------   ------------------------------------------
    any                 all of its classes
    RENAME              rename; rename, create                     no more may be allowed on the new name than
    posix-rename        rename; rename, create, overwrite          on the old one, by the path rules
    copy-data           read; write                                its end within the size
    SYMLINK, hardlink   link, and where a relative text may lead   the same is allowed on all of them
    OPEN, OPENDIR       all of its classes                         a handle is left; no append with a size
    with attributes                                                the size in them within the size
    on paths            nothing that a window of time closes
    REALPATH of home    nothing
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from usp import policy as written
from usp.policy import Access, Mode, OpClass
from usp.sftp.globs import Glob, names, path_glob
from usp.sftp.ops import EXTENSIONS, HARMLESS, OPEN, OPENDIR, OPS, Field, Op, OpenFlag, Status
from usp.sftp.packets import Request
from usp.sftp.paths import normalise
from usp.sftp.windows import Windows


@dataclass(frozen=True, slots=True)
class Allow:
    """Let it pass, or `instead` of it another request that does less."""

    instead: Request | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer the partner with this status; the target hears nothing of it. Not `enforced`: tell it, and let it pass."""

    status: Status = Status.PERMISSION_DENIED
    text: str = "Permission denied"
    enforced: bool = True


Decision: TypeAlias = Allow | Deny


class Context(NamedTuple):
    """What a decision depends on beside the request. `home`: as the target told it; `handles`: that are open; `now`
    tells the time, as Unix has it, to a policy that asks."""

    home: bytes | None = None
    handles: int = 0
    now: Callable[[], float] = lambda: 0.0


class Policy(Protocol):
    @property
    def root(self) -> str | None:
        """Where partners see the target's files from, with a place for the user name; what is decided is below it."""
        ...

    @property
    def max_size(self) -> int | None:
        """A WRITE that ends beyond it is asked about."""
        ...

    @property
    def holds_to_open(self) -> bool:
        """READ and WRITE are refused on a handle that was not opened for them: not every target does."""
        ...

    def too_large(self) -> Deny:
        """What becomes of such a WRITE."""
        ...

    def decide(self, request: Request, context: Context, /) -> Decision:
        """Pure: the same request in the same context is always decided in the same way."""
        ...


class AllowAll:
    """The target alone decides."""

    root: str | None = None
    max_size: int | None = None
    holds_to_open = False

    def too_large(self) -> Deny:
        return Deny()

    def decide(self, request: Request, context: Context, /) -> Decision:
        return Allow()


ALLOW_ALL: Final = AllowAll()
_ALLOWED: Final = Allow()
_ALL: Final = frozenset(OpClass)
_MAKING: Final = frozenset({OpClass.WRITE, OpClass.CREATE, OpClass.OVERWRITE, OpClass.MKDIR, OpClass.LINK})
_REALPATH: Final = OPS[16]
_COPY: Final = EXTENSIONS[b"copy-data"]
_RENAMES: Final = frozenset({OPS[18], EXTENSIONS[b"posix-rename@openssh.com"]})
_SYMLINK: Final = OPS[20]
_LINKS: Final = frozenset({_SYMLINK, EXTENSIONS[b"hardlink@openssh.com"]})
_BY_PATH: Final[Mapping[Op, tuple[frozenset[OpClass], ...]]] = MappingProxyType(
    {
        OPS[18]: (frozenset({OpClass.RENAME}), frozenset({OpClass.RENAME, OpClass.CREATE})),
        EXTENSIONS[b"posix-rename@openssh.com"]: (
            frozenset({OpClass.RENAME}),
            frozenset({OpClass.RENAME, OpClass.CREATE, OpClass.OVERWRITE}),
        ),
        _COPY: (frozenset({OpClass.READ}), frozenset({OpClass.WRITE})),
    }
)
"""Operations that do different things to their paths."""

_OUTSIDE: Final = "\0"
"""Fits no pattern: no path has it."""


class _UnknownHomeError(Exception):
    """It depends on where the home is."""


class _Names(NamedTuple):
    """A path as patterns see it, from the root and from the home. None: not known without the home."""

    absolute: str | None
    below_home: str | None
    above_home: bool = False


class _PathRule:
    def __init__(self, rule: written.PathRule, ignore_case: bool) -> None:
        pattern = rule.path.casefold() if ignore_case else rule.path
        self.denies = rule.access is Access.DENY
        self.classes = frozenset(rule.classes) or _ALL
        self._at_home = pattern.startswith("~")
        self._everywhere = pattern == "/**"
        self._glob: Glob = path_glob(pattern.removeprefix("~"))

    def fits(self, names: _Names, below: bool) -> bool:
        """Whether it is about this path or, `below`, denies something below it."""
        if self._everywhere:
            return True
        path = names.below_home if self._at_home else names.absolute
        if path is None:
            raise _UnknownHomeError
        if self._glob.fits(path):
            return True
        reaches = path != _OUTSIDE and self._glob.reaches_below(path)
        return below and self.denies and (reaches or (self._at_home and names.above_home))


class Compiled:
    """A Rule's policy, ready to decide."""

    def __init__(self, policy: written.Policy) -> None:
        self.root = policy.root
        self.max_size = policy.max_file_size
        self._classes = policy.classes
        self._paths = [_PathRule(rule, policy.ignore_case) for rule in policy.paths]
        self._ignore_case = policy.ignore_case
        self._forbidden = names(name.casefold() for name in policy.forbidden_names)
        self._handles = policy.max_open_handles
        self._windows = Windows(policy.windows) if policy.windows else None
        self._enforced = self.holds_to_open = policy.mode is Mode.ENFORCE

    def too_large(self) -> Deny:
        return self._deny(f"a file may have {self.max_size} bytes at most")

    def decide(self, request: Request, context: Context, /) -> Decision:
        if request.op is _REALPATH and request.paths in ((b".",), (context.home,)):
            return _ALLOWED  # everybody may know where home is, and without it no client begins
        text = self._objection(request, context)
        if not text:
            return _ALLOWED
        if request.op is OPEN and request.pflags & OpenFlag.CREAT and self._enforced:
            exclusive = request.exclusive()  # only the target knows whether the file is there: then it refuses
            if not self._objection(exclusive, context):
                return Allow(exclusive)
        return self._deny(text)

    def _deny(self, text: str) -> Deny:
        return Deny(text=text, enforced=self._enforced)

    def _objection(self, request: Request, context: Context) -> str:
        """What is wrong with it; empty: nothing."""
        needs = needed(request)
        classes = frozenset().union(*(each for _, each in needs)) if needs else request.classes
        if missing := classes - self._classes:
            return f"{_words(missing)} not allowed"
        return (
            self._about_time(request, context)
            or self._about_paths(request, needs, context)
            or self._about_names(needs)
            or self._about_size(request)
            or self._about_handles(request, context)
        )

    def _about_time(self, request: Request, context: Context) -> str:
        """What a handle was given for may be finished."""
        if self._windows is None or request.handles or not request.paths:
            return ""
        return self._windows.objection(writes=not request.classes <= HARMLESS, now=context.now())

    def _about_paths(self, request: Request, needs: list[tuple[bytes, frozenset[OpClass]]], context: Context) -> str:
        if not self._paths:
            return ""
        try:
            all_names = [self._names(request.op, path, context.home) for path, _ in needs]
            for names, (_, classes) in zip(all_names, needs, strict=True):
                if denied := self._denied(names, classes):
                    return f"{_words(denied)} not allowed on this path"
            if request.op in _RENAMES and self._denied(all_names[0], below=True) - self._denied(all_names[1]):
                return "on the new path more would be allowed than on this one"
            if request.op in _LINKS and len({self._denied(names, below=True) for names in all_names}) > 1:
                return "on one of the paths more is allowed than on the other"
        except _UnknownHomeError:
            return "the home is not known yet: give whole paths, or ask for the real path of . first"
        return ""

    def _denied(self, names: _Names, classes: frozenset[OpClass] = _ALL, *, below: bool = False) -> frozenset[OpClass]:
        """Those of the classes that the first rule which is about them denies."""
        open_, denied = classes, frozenset[OpClass]()
        for rule in self._paths:
            concerned = open_ & rule.classes
            if concerned and rule.fits(names, below):
                open_ -= concerned
                denied |= concerned if rule.denies else frozenset()
        return denied

    def _names(self, op: Op, path: bytes, home: bytes | None) -> _Names:
        if op.fields == (Field.TILDE_PATH,) and path.startswith(b"~"):
            return _Names(None, None)
        if not path.startswith(b"/"):
            if home is None:
                upwards = path.startswith(b"..")  # or a name that begins so: then it is not known either
                return _Names(None, None) if upwards else _Names(None, self._text(normalise(b"/" + path)))
            path = normalise(home + b"/" + path)
        absolute = self._text(path)
        if home is None:
            return _Names(absolute, None)
        top = self._text(home)
        inside = f"{absolute}/".startswith(f"{top}/")
        return _Names(absolute, absolute[len(top) :] if inside else _OUTSIDE, f"{top}/".startswith(f"{absolute}/"))

    def _text(self, path: bytes) -> str:
        text = path.rstrip(b"/").decode("utf-8", "surrogateescape")
        return text.casefold() if self._ignore_case else text

    def _about_names(self, needs: list[tuple[bytes, frozenset[OpClass]]]) -> str:
        for path, classes in needs:
            if classes & _MAKING:
                name = path.rstrip(b"/").rpartition(b"/")[2].decode("utf-8", "surrogateescape").casefold()
                # On Windows `x.exe. ` is x.exe, and `x.exe:stream` a part of it.
                if any(map(self._forbidden.fullmatch, (name, name.rstrip(". "), name.partition(":")[0].rstrip(". ")))):
                    return "a file of this name is not allowed"
        return ""

    def _about_size(self, request: Request) -> str:
        if self.max_size is None:
            return ""
        size = request.attrs.size if request.attrs else None
        if request.op is _COPY:
            _, _, length, _, offset = request.values
            assert isinstance(length, int)
            assert isinstance(offset, int)
            if not length:
                return "a copy of unknown length is not allowed: the size of files is limited"
            size = offset + length
        if request.op is OPEN and request.pflags & OpenFlag.APPEND:
            return "opening for append is not allowed: the size of files is limited"
        return self.too_large().text if size is not None and size > self.max_size else ""

    def _about_handles(self, request: Request, context: Context) -> str:
        if self._handles is not None and request.op in (OPEN, OPENDIR) and context.handles >= self._handles:
            return f"only {self._handles} files and directories may be open at once"
        return ""


def needed(request: Request) -> list[tuple[bytes, frozenset[OpClass]]]:
    """Each path, and the classes that must be allowed on it."""
    by_path = _BY_PATH.get(request.op)
    if by_path:
        return list(zip(request.paths, by_path, strict=True))
    paths = request.paths
    if request.op is _SYMLINK:  # its text is relative to where the link is, whichever of them is the link
        paths += tuple(_beside(*pair) for pair in (paths, paths[::-1]) if not pair[0].startswith(b"/"))
    return [(path, request.classes) for path in paths]


def _beside(path: bytes, other: bytes) -> bytes:
    return normalise(other.rstrip(b"/").rpartition(b"/")[0] + b"/" + path if b"/" in other else path)


def _words(classes: Collection[OpClass]) -> str:
    return ", ".join(each for each in OpClass if each in classes) + (" is" if len(classes) == 1 else " are")
