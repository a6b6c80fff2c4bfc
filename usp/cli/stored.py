"""Where `usp login` keeps who we are: manager, CA and bearer, in a file that only its owner may read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from usp.errors import UspError


@dataclass(frozen=True)
class Stored:
    """A login. Its token goes to its own manager only."""

    url: str
    username: str
    token: str
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Stored({self.url}, {self.username})"


def path() -> Path:
    """As the XDG Base Directory Specification has it."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "usp" / "login.json"


def read() -> Stored | None:
    """None: not logged in. UspError settings.invalid when others could read the file."""
    try:
        with path().open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _useless(f"cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if mode & 0o077:
        raise _useless("can be read by others")
    try:
        known = {field.name for field in fields(Stored)}
        return Stored(**{name: value for name, value in json.loads(text).items() if name in known})
    except (ValueError, TypeError, AttributeError):
        raise _useless("holds no login") from None


def write(login: Stored) -> None:
    """In one step, so that nobody reads half a file, and never readable by others."""
    file = path()
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(asdict(login), out)
        draft.replace(file)
    except OSError as error:
        raise UspError("settings.invalid", f"cannot write {file}: {error.strerror}") from None


def forget() -> None:
    path().unlink(missing_ok=True)


def _useless(what: str) -> UspError:
    return UspError("settings.invalid", f"{path()} {what}: remove it and log in again")
