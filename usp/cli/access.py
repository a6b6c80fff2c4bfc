"""Commands of logging in, of oneself, and of administration: users, tokens, logins, lock-outs, the IP Filter.

Passwords are asked for at a terminal, or are lines of the standard input: on a command line others could see them.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from usp.cli import show, stored
from usp.cli.client import Client, segment
from usp.errors import UspError

Row = Mapping[str, Any]

ROLE: Final = click.Choice(["admin", "read_only"])


def secret(prompt: str, *, confirm: bool = False) -> str:
    """Asked for at a terminal, else the next line of the input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


# --- logging in ---


def login(url: str, ca: str | None, username: str | None) -> None:
    """Log in, and be known to the commands that follow."""
    name = username or getpass.getuser()
    client, body = Client(url, "", ca), {"username": name, "password": secret(f"Password of {name}")}
    try:
        answer = client.post("/login", body)
    except UspError as error:
        if error.code != "auth.totp":
            raise
        answer = client.post("/login", {**body, "totp": secret("Code of the second factor, or a recovery code")})
    stored.write(stored.Stored(url=url, username=name, token=answer["token"], ca=ca))
    click.echo(f"{name} is logged in at {url} ({answer['role']}), until {answer['expires_at']} at the latest")


def logout() -> None:
    """End the login, here and at the manager."""
    found = stored.read()
    if found is None:
        click.echo("nobody was logged in")
        return
    stored.forget()
    try:
        Client(found.url, found.token, found.ca).post("/logout")
    except UspError as error:
        if error.code != "auth.invalid":  # it has ended by itself
            raise
    click.echo(f"{found.username} is logged out")


def whoami(client: Client, as_json: bool) -> None:
    """Who we are there, and what we may do."""
    _show(client.get("/me"), as_json)


@click.option("--full-name", help="One's name.")
@click.option("--email", help='One\'s e-mail address; "" for none.')
def profile(client: Client, as_json: bool, full_name: str | None, email: str | None) -> None:
    """Change one's own name or e-mail address."""
    _show(client.ask("PATCH", "/me", {}, _given(full_name=full_name, email=email)), as_json)


def passwd(client: Client, as_json: bool) -> None:
    """Change one's own password. Other logins of oneself end."""
    body = {"current": secret("Present password"), "password": secret("New password", confirm=True)}
    client.post("/me/password", body)
    _done({"changed": True}, "the password was changed", as_json)


# --- users ---

USERS: Final[tuple[show.Column, ...]] = (
    ("user", lambda row: row["username"]),
    ("role", lambda row: row["role"]),
    ("enabled", lambda row: row["enabled"]),
    ("password", lambda row: row["has_password"]),
    ("second factor", lambda row: row.get("has_totp")),
    ("name", lambda row: row["full_name"]),
    ("e-mail", lambda row: row["email"]),
    ("changed", lambda row: f"{show.since(row['updated_at'])} ago"),
)


@click.argument("name", required=False)
def users_list(client: Client, as_json: bool, name: str | None) -> None:
    """All administrators, or one."""
    if name is not None:
        _show(client.get(f"/users/{segment(name)}"), as_json)
    else:
        _table(client.get("/users"), USERS, as_json)


@click.argument("name")
@click.option("--role", type=ROLE, required=True)
@click.option("--full-name", default="", help="For people.")
@click.option("--email", default="", help="E-mail address.")
@click.option("--no-password", is_flag=True, help="They can only have API tokens.")
def users_add(
    client: Client, as_json: bool, name: str, role: str, full_name: str, email: str, no_password: bool
) -> None:
    """Make an administrator; asks for the password."""
    body = {"username": name, "role": role, "full_name": full_name, "email": email}
    if not no_password:
        body["password"] = secret(f"Password of {name}", confirm=True)
    _done(client.post("/users", body), f"user {name} was made", as_json)


@click.argument("name")
@click.option("--role", type=ROLE)
@click.option("--full-name")
@click.option("--email")
@click.option("--enable/--disable", "enabled", default=None, help="Who is disabled is logged out and stays out.")
@click.option("--password", is_flag=True, help="Ask for a new password; ends their logins.")
def users_change(
    client: Client,
    as_json: bool,
    name: str,
    role: str | None,
    full_name: str | None,
    email: str | None,
    enabled: bool | None,
    password: bool,
) -> None:
    """Change an administrator."""
    body = _given(role=role, full_name=full_name, email=email, enabled=enabled)
    if password:
        body["password"] = secret(f"New password of {name}", confirm=True)
    if not body:
        raise click.UsageError("change what? See --help.")
    _done(client.ask("PATCH", f"/users/{segment(name)}", {}, body), f"user {name} was changed", as_json)


@click.argument("name")
def users_remove(client: Client, as_json: bool, name: str) -> None:
    """Remove an administrator, with tokens and logins."""
    client.ask("DELETE", f"/users/{segment(name)}", {})
    _done({"removed": name}, f"user {name} was removed", as_json)


# --- tokens ---

TOKENS: Final[tuple[show.Column, ...]] = (
    ("token", lambda row: row["name"]),
    ("user", lambda row: row["username"]),
    ("role", lambda row: row["role"]),
    ("used", lambda row: f"{show.since(row['used_at'])} ago" if row["used_at"] else "never"),
    ("expires", lambda row: row["expires_at"]),
    ("id", lambda row: row["id"]),
)


def tokens_list(client: Client, as_json: bool) -> None:
    """API tokens: one's own, or all of them as an administrator."""
    _table(client.get("/tokens"), TOKENS, as_json)


@click.argument("name")
@click.option("--user", "username", help="Whose it is; else one's own.")
@click.option("--role", type=ROLE, help="Less than what its user may do, if wanted.")
@click.option("--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="How long it is valid.")
@click.option("--forever", is_flag=True, help="It does not expire.")
def tokens_create(
    client: Client, as_json: bool, name: str, username: str | None, role: str | None, days: int, forever: bool
) -> None:
    """Make an API token and print it: it is shown this once."""
    body = _given(name=name, username=username, role=role)
    if not forever:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    answer = client.post("/tokens", body)
    _done(answer, answer["token"], as_json)


@click.argument("token")
def tokens_revoke(client: Client, as_json: bool, token: str) -> None:
    """End an API token, by its id or its name."""
    found = client.get("/tokens")["items"]
    ids = [each["id"] for each in found if token in (each["id"], each["name"])]
    if len(ids) > 1:
        raise click.UsageError(f"several users have a token '{token}': give its id")
    client.ask("DELETE", f"/tokens/{segment(ids[0] if ids else token)}", {})
    _done({"revoked": token}, f"token {token} is worth nothing any more", as_json)


# --- logins and lock-outs ---

LOGINS: Final[tuple[show.Column, ...]] = (
    ("user", lambda row: row["username"]),
    ("from", lambda row: row["peer"]),
    ("since", lambda row: f"{show.since(row['created_at'])} ago"),
    ("used", lambda row: f"{show.since(row['used_at'])} ago"),
    ("ours", lambda row: row["current"]),
    ("id", lambda row: row["id"]),
)
LOCKOUTS: Final[tuple[show.Column, ...]] = (
    ("who", lambda row: row["subject"]),
    ("failures", lambda row: row["failures"]),
    ("last", lambda row: f"{show.since(row['failed_at'])} ago"),
    ("locked until", lambda row: row["locked_until"]),
)


def logins_list(client: Client, as_json: bool) -> None:
    """Who is logged in: oneself, or everybody as an administrator."""
    _table(client.get("/logins"), LOGINS, as_json, empty="nobody is logged in")


@click.argument("id")
def logins_revoke(client: Client, as_json: bool, id: str) -> None:
    """End a login."""
    client.ask("DELETE", f"/logins/{segment(id)}", {})
    _done({"revoked": id}, "that login has ended", as_json)


def lockouts_list(client: Client, as_json: bool) -> None:
    """Users and addresses that failed to log in of late."""
    _table(client.get("/lockouts"), LOCKOUTS, as_json, empty="nobody failed to log in")


@click.argument("subject", metavar="user:NAME|address:ADDRESS")
def lockouts_release(client: Client, as_json: bool, subject: str) -> None:
    """Let a user or an address try again at once."""
    client.ask("DELETE", f"/lockouts/{segment(subject)}", {})
    _done({"released": subject}, f"{subject} may try again", as_json)


# --- the IP Filter ---


@click.argument("name", required=False)
@click.option("--none", is_flag=True, help="Let every address in.")
def ip_filter(client: Client, as_json: bool, name: str | None, none: bool) -> None:
    """Which IP Filter guards the managers; with a NAME, put that one in force."""
    if name and none:
        raise click.UsageError("a name or --none, not both")
    if name or none:
        answer = client.ask("PUT", "/settings/ip-filter", {}, {"ip_filter": name})
    else:
        answer = client.get("/settings/ip-filter")
    found = answer["ip_filter"]
    _done(answer, f"{found} guards UI and API" if found else "every address is let in", as_json)


# --- answers ---


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _show(answer: Any, as_json: bool) -> None:
    (show.as_json if as_json else show.fields)(answer)


def _table(answer: Any, columns: tuple[show.Column, ...], as_json: bool, empty: str = "there is none") -> None:
    if as_json:
        show.as_json(answer)
    else:
        show.table(columns, answer["items"], empty=empty)


def _done(answer: Any, text: str, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
    else:
        click.echo(text)


COMMANDS: Final[tuple[Callable[..., None], ...]] = (whoami, profile, passwd, ip_filter)
GROUPS: Final[Mapping[str, tuple[str, Mapping[str, Callable[..., None]]]]] = {
    "users": (
        "Administrators.",
        {"list": users_list, "add": users_add, "change": users_change, "remove": users_remove},
    ),
    "tokens": ("API tokens.", {"list": tokens_list, "create": tokens_create, "revoke": tokens_revoke}),
    "logins": ("Who is logged in.", {"list": logins_list, "revoke": logins_revoke}),
    "lockouts": ("Who failed to log in too often.", {"list": lockouts_list, "release": lockouts_release}),
}
"""name -> what it is about, its commands."""
