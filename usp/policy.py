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


PathPattern = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_path_pattern)]
NamePattern = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name_pattern)]


class PathRule(BaseModel):
    """What is allowed or denied on paths that fit a pattern: * and ? within a name, ** for any directories."""

    model_config = _CONFIG

    path: PathPattern = Field(description="Such as /partners/acme/** or, below the partner's home, ~/in/*.csv")
    access: Access = Field(description="What becomes of it")
    classes: tuple[OpClass, ...] = Field(default=(), max_length=14, description="Of these only; none: of all")

    def __str__(self) -> str:
        return f"{self.access} {', '.join(self.classes) or 'all'} on {self.path}"


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
