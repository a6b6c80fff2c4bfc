"""What partners may do over SFTP, as an administrator writes it: on a Rule, or instead of it on an Account.

A request passes when all of it is allowed: its classes by `preset`, `allow` and `deny`; each of its paths by the first
path rule that fits; the name of what it makes by `forbidden_names`; sizes and handles by their limits. None of them
allows what another one denies. `usp.sftp.policy` decides by it; docs/policy.md tells all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_CONFIG: Final = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class OpClass(StrEnum):
    """What an operation does. An operation may have several."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    OVERWRITE = "overwrite"  # it may destroy or change what a file already holds
    DELETE = "delete"
    RENAME = "rename"
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    SETSTAT = "setstat"
    LINK = "link"
    READLINK = "readlink"
    LIST = "list"
    STAT = "stat"
    OTHER = "other"  # asks about the server or ends what was begun; touches no file


class Preset(StrEnum):
    """Which classes are allowed to begin with."""

    FULL = "full"
    UPLOAD_ONLY = "upload_only"
    DOWNLOAD_ONLY = "download_only"


_C = OpClass
PRESETS: Final[Mapping[Preset, frozenset[OpClass]]] = MappingProxyType(
    {
        Preset.FULL: frozenset(OpClass),
        # stat: OpenSSH's `put` asks whether the name is a directory; overwrite: its open may replace a file
        Preset.UPLOAD_ONLY: frozenset(
            {_C.WRITE, _C.CREATE, _C.OVERWRITE, _C.MKDIR, _C.SETSTAT, _C.STAT, _C.OTHER},
        ),
        Preset.DOWNLOAD_ONLY: frozenset({_C.READ, _C.READLINK, _C.LIST, _C.STAT, _C.OTHER}),
    }
)


class Access(StrEnum):
    """What a path rule says."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(StrEnum):
    """Whether a policy refuses, or only tells what it would refuse."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


def _path_pattern(text: str) -> str:
    if not text.startswith(("/", "~/")):
        raise ValueError("must begin with / or, for what is below the partner's home at the target, with ~/")
    for part in (parts := text.split("/"))[1:]:
        if part in (".", "..") or (not part and len(parts) > 2):
            raise ValueError("must be in normal form: without //, . and .., and without / at the end")
        if "**" in part and part != "**":
            raise ValueError("** stands for whole directories: write it alone between two /, such as /in/**")
    return text


def _name_pattern(text: str) -> str:
    if "/" in text:
        raise ValueError("is a pattern for names, in which there is no /")
    return text


def _root(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must begin with /: it is a directory as the target shows it to its SFTP user")
    parts = text.split("/")[1:]
    if any(part in (".", "..") or (not part and len(parts) > 1) for part in parts):
        raise ValueError("must be in normal form: without //, . and .., and without / at the end")
    if not text.isprintable() or set("{}") & set(text.replace(ACCOUNT, "")):
        raise ValueError(f"must be printable, and the only braces in it are those of {ACCOUNT}")
    return text


ACCOUNT: Final = "{account}"
"""In a root: the user name with which the partner logged in."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        raise ValueError("is no time zone: write UTC, or one such as Europe/Zurich") from None
    return name


PathPattern = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_path_pattern)]
TIME_PATTERN: Final = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"
TimeOfDay = Annotated[str, Field(pattern=TIME_PATTERN)]
Timezone = Annotated[str, Field(max_length=64), AfterValidator(_timezone)]
RootPath = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_root)]
NamePattern = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name_pattern)]


class PathRule(BaseModel):
    """What is allowed or denied on paths that fit a pattern: * and ? within a name, ** for any directories."""

    model_config = _CONFIG

    path: PathPattern = Field(description="Such as /partners/acme/** or, below the partner's home, ~/in/*.csv")
    access: Access = Field(description="What becomes of it")
    classes: tuple[OpClass, ...] = Field(default=(), max_length=14, description="Of these only; none: of all")

    def __str__(self) -> str:
        return f"{self.access} {', '.join(self.classes) or 'all'} on {self.path}"


class Day(StrEnum):
    """Of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class WindowAccess(StrEnum):
    """What is left of a policy within a window."""

    READ_ONLY = "read_only"
    CLOSED = "closed"


class Window(BaseModel):
    """A time, again and again, at which less is allowed. One that does not end after it starts ends the next day."""

    model_config = _CONFIG

    access: WindowAccess = Field(description="read_only: nothing may be changed; closed: nothing may be begun")
    days: tuple[Day, ...] = Field(default=(), max_length=7, description="On which it starts; none: every day")
    start: TimeOfDay = Field(default="00:00", description="Such as 22:00, by the clocks of the time zone")
    end: TimeOfDay = Field(default="24:00", description="Such as 06:00; it is no part of the window")
    timezone: Timezone = Field(default="UTC", description="Such as Europe/Zurich")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end or self.start == "24:00":
            raise ValueError("must start and end at different times, and start before 24:00")
        return self

    def __str__(self) -> str:
        return f"{self.access} {','.join(self.days) or 'daily'} {self.start}-{self.end} {self.timezone}"


class Policy(BaseModel):
    """What partners may do over SFTP. As it comes, everything."""

    model_config = _CONFIG

    preset: Preset = Field(default=Preset.FULL, description="Which classes of operations are allowed")
    allow: tuple[OpClass, ...] = Field(default=(), max_length=14, description="Classes beyond the preset's")
    deny: tuple[OpClass, ...] = Field(default=(), max_length=14, description="Classes of the preset that are not")
    paths: tuple[PathRule, ...] = Field(
        default=(), max_length=64, description="The first rule that fits a path and a class decides; none: allowed"
    )
    forbidden_names: tuple[NamePattern, ...] = Field(
        default=(), max_length=64, description="Names that may not be written, such as *.exe; in either case"
    )
    ignore_case: bool = Field(default=False, description="Path rules ignore case, as the target's file system does")
    max_file_size: int | None = Field(default=None, ge=0, le=2**63 - 1, description="Bytes of a file that is written")
    max_open_handles: int | None = Field(
        default=None, ge=1, le=2048, description="Files and directories that are open at once, per channel"
    )
    root: RootPath | None = Field(
        default=None, description="The directory at the target that partners see as /, such as /partners/{account}"
    )
    windows: tuple[Window, ...] = Field(
        default=(), max_length=32, description="Times at which partners may only read, or do nothing"
    )
    mode: Mode = Field(default=Mode.ENFORCE, description="observe: nothing is refused, only told in the audit log")

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if both := [each for each in self.allow if each in self.deny]:
            raise ValueError(f"{', '.join(both)}: stands in both allow and deny")
        return self

    @property
    def classes(self) -> frozenset[OpClass]:
        """Those that are allowed."""
        return (PRESETS[self.preset] | frozenset(self.allow)) - frozenset(self.deny)
