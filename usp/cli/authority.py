"""`usp pki`: a certification authority in a directory, for an installation that has no other one.

It needs no manager: certificates come first. The CA's key belongs on a machine that is none of the gateway's. Files are
0600 and appear whole; nothing that is there is replaced, but by `renew`, which says what it replaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from usp.cli import show
from usp.errors import UspError

if TYPE_CHECKING:
    from usp.pki import Identity

URIS: Final = {"server": "usp://server/{}", "manager": "usp://manager/{}", "web": None}
"""What a certificate is for -> the URI that peers look for in it."""

DIRECTORY: Final = "/opt/udmg/etc/pki"
DAYS: Final = click.IntRange(1, 36_500)

folder = click.option(
    "--dir", "folder", default=DIRECTORY, show_default=True, type=click.Path(path_type=Path), help="The CA's."
)


@click.group(help="A certification authority for a small installation (ECDSA P-256).")
def pki() -> None: ...


@pki.command("init")
@folder
@click.option("--name", default="USP CA", show_default=True, help="What the CA is called.")
@click.option("--days", type=DAYS, default=3650, show_default=True, help="How long it is valid.")
def init(folder: Path, name: str, days: int) -> None:
    """Make a CA: ca.crt for all daemons, and ca.key, which stays here."""
    from usp import pki

    with _failures():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = pki.new_ca(name, now=datetime.now(UTC), days=days)
        _write_new(folder / "ca.key", made.key)
        _write_new(folder / "ca.crt", made.cert)
        click.echo(f"{folder / 'ca.crt'}: give it to all daemons (web.tls.ca), and as CA Certificate to the manager")
        click.echo(f"{folder / 'ca.key'}: whoever has it can pass for any server and manager; keep it off the gateway")


@pki.command("issue")
@click.argument("what", type=click.Choice(list(URIS)))
@click.argument("name")
@click.option("--dns", multiple=True, metavar="NAME", help="A DNS name that it is reached by; may be repeated.")
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An IP address that it is reached by; may be repeated.")
@click.option("--days", type=DAYS, default=825, show_default=True, help="How long it is valid.")
@click.option("--out", type=click.Path(path_type=Path), help="The directory for NAME.crt and NAME.key; else the CA's.")
@folder
def issue(
    what: str, name: str, dns: tuple[str, ...], ip: tuple[str, ...], days: int, out: Path | None, folder: Path
) -> None:
    """Issue a certificate to WHAT: the management port of the `server` NAME, the `manager` NAME towards servers, or the
    `web` pages and API of a manager (give --dns)."""
    from usp import pki

    with _failures():
        pattern = URIS[what]
        uri = pattern.format(_checked(name)) if pattern else None
        if what == "web" and not dns and not ip:
            dns = (name,)
        target = out or folder
        for path in (target / f"{name}.key", target / f"{name}.crt"):
            _refuse_existing(path, "`usp pki renew` replaces certificates")
        try:
            made = pki.issue(_authority(folder), now=datetime.now(UTC), uri=uri, dns=dns, ips=ip, days=days)
        except ValueError as error:
            raise UspError("settings.invalid", f"the certificate cannot be made: {error}") from None
        _write_new(target / f"{name}.key", made.key)
        _write_new(target / f"{name}.crt", made.cert)
        click.echo(f"{target / name}.crt and .key: {', '.join(_words(made.cert))}")


@pki.command("renew")
@click.argument("certificates", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--days", type=DAYS, default=825, show_default=True, help="How long the new ones are valid.")
@click.option("--new-key", is_flag=True, help="With new private keys, too, instead of those beside them.")
@folder
def renew(certificates: tuple[Path, ...], days: int, new_key: bool, folder: Path) -> None:
    """Replace CERTIFICATES (NAME.crt, with NAME.key beside it) by new ones for the same names.

    Daemons take them up at SIGHUP (systemctl reload) without ending a session."""
    from usp import certificates as expiring
    from usp import pki
    from usp.configfile import read_file

    with _failures():
        authority = _authority(folder)
        for path in certificates:
            old = read_file(str(path))
            key_path = path.with_suffix(".key")
            key = "" if new_key else read_file(str(key_path), private=True)
            uri, dns, ips = pki.names(old)
            made = pki.issue(authority, now=datetime.now(UTC), uri=uri, dns=dns, ips=ips, days=days, key_pem=key)
            if new_key:
                _replace(key_path, made.key)
            _replace(path, made.cert)
            ended, ends = _day(expiring.expires(old)), _day(expiring.expires(made.cert))
            with_key = ", and its key" if new_key else ""
            click.echo(f"{path}{with_key}: replaced; valid until {ends} (the one before: {ended}). Reload its daemon.")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except UspError as error:
        raise click.ClickException(show.printable(error.message)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None


def _checked(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from usp.model import Name

    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UspError("settings.invalid", f"'{name}' is no name of an item: letters, digits, '-' and '_'") from None


def _authority(folder: Path) -> Identity:
    from usp.configfile import read_file
    from usp.pki import Identity

    if not (folder / "ca.key").exists():
        raise UspError("settings.unreadable", f"there is no CA in {folder} (`usp pki init` makes one)")
    return Identity(read_file(str(folder / "ca.crt")), read_file(str(folder / "ca.key"), private=True))


def _words(cert: str) -> list[str]:
    from usp.pki import names

    found = names(cert)
    return [*([found.uri] if found.uri else []), *found.dns, *found.ips]


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _refuse_existing(path: Path, hint: str = "remove it first") -> None:
    if path.exists():
        raise UspError("settings.invalid", f"{path} exists and was left as it is ({hint})")


def _write_new(path: Path, text: str) -> None:
    _refuse_existing(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    """The old text or the new one, never half of it; owner and mode stay."""
    before = path.stat()
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    _write_new(beside, text)
    os.chown(beside, before.st_uid, before.st_gid)
    os.chmod(beside, before.st_mode & 0o7777)
    beside.replace(path)
