"""What is done to the fields of an item on their way in, before the catalog checks them.

* `generate`: a key or certificate is made in place of being given, so that nobody needs openssl to start:
  a Private Key (`"ed25519"`), a CA Certificate (`{"days": 3650}`), or a TLS Certificate (`{"ca": NAME, "dns": [...]}`;
  without `ca` it is signed by itself);
* `passphrase`: opens the encrypted `private_key` beside it, which is then kept like any other; it is never stored;
* an Account's password becomes its argon2id hash.

Keys take a while to make: that is done in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pydantic import Field, IPvAnyAddress, ValidationError

from usp import pki, tls
from usp.argon2id import is_password_hash
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Change, Create, Delete, Loc, Update
from usp.manager.kinds import GENERATE, MADE, item_of, model_of, secrets
from usp.manager.sealing import is_sealed
from usp.model import Account, CaCertificate, Model, PrivateKey, Ref
from usp.passwords import MAX_LENGTH, Passwords
from usp.secret import REDACTED, Secret
from usp.ssh import keys
from usp.wording import problems_of

PASSPHRASE: Final = "passphrase"  # noqa: S105  (a field's name)

GENERATED: Final = {
    "ed25519": "ssh-ed25519",
    "ecdsa-p256": "ecdsa-sha2-nistp256",
    "rsa-3072": "ssh-rsa",
}
"""What `generate` of a Private Key may say -> the key type."""

Fields = Mapping[str, Any]
Authorities = Mapping[str, pki.Identity]


class NewCa(Model):
    """`generate` of a CA Certificate."""

    days: int = Field(default=3650, ge=1, le=36500)


class NewCertificate(Model):
    """`generate` of a TLS Certificate. When it names nobody, it names this manager, as Proxy Servers want it."""

    ca: Annotated[str, Ref(CaCertificate.kind)] | None = Field(
        default=None, description="The CA Certificate that signs it; without one, it does itself"
    )
    uri: Annotated[str, Field(pattern=r"^[a-z]+://[\x21-\x7e]+$", max_length=255)] | None = None
    dns: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[\w-]+(\.[\w-]+)*$", max_length=253)], ...] = ()
    ips: tuple[IPvAnyAddress, ...] = ()
    days: int = Field(default=825, ge=1, le=36500)


Wish = TypeVar("Wish", bound=Model)


class Entry:
    """`manager`: the name by which this manager is known to servers."""

    def __init__(self, passwords: Passwords, manager: str, clock: Callable[[], datetime]) -> None:
        self._passwords = passwords
        self._manager = manager
        self._clock = clock

    async def admit(self, catalog: Catalog, changes: Sequence[Change]) -> list[Change]:
        """The changes as the catalog takes them; UspError item.invalid with all that is wrong."""
        admitted = list(changes)
        authorities = dict[str, pki.Identity]()
        problems: list[Problem] = []
        for place in sorted(range(len(changes)), key=lambda place: changes[place].kind != CaCertificate.kind):
            change = changes[place]
            if isinstance(change, Delete) or isinstance(change.fields, bytes):
                continue
            try:
                fields = await self._fields(catalog, change, change.fields, authorities)
            except UspError as error:
                problems += [Problem((*change.loc, *found.loc), found.msg) for found in error.problems]
                continue
            admitted[place] = replace(change, fields=fields)
            if change.kind == CaCertificate.kind and GENERATE in change.fields:
                authorities[str(fields.get("name"))] = pki.Identity(fields["certificate"], fields["private_key"])
        if problems:
            raise UspError("item.invalid", problems=problems)
        return admitted

    async def _fields(
        self, catalog: Catalog, change: Create | Update, fields: Fields, authorities: Authorities
    ) -> Fields:
        for name in secrets(model_of(change.kind)):
            if is_sealed(fields.get(name)):
                raise _invalid((name,), "is sealed: POST /apply opens it, with its passphrase")
        if PASSPHRASE in fields and change.kind in MADE:
            fields = await asyncio.to_thread(decrypted, change.kind, fields)
        if GENERATE in fields and change.kind in MADE:
            _refuse_given(fields, MADE[change.kind])
            fields = await asyncio.to_thread(self._generated, catalog, change.kind, fields, authorities)
        password = fields.get("password")
        if change.kind == Account.kind and isinstance(password, str) and password not in ("", REDACTED):
            fields = {**fields, "password": await self._kept(catalog, change, password)}
        return fields

    def _generated(self, catalog: Catalog, kind: str, fields: Fields, authorities: Authorities) -> Fields:
        rest = {name: value for name, value in fields.items() if name != GENERATE}
        wanted, name, now = fields[GENERATE], str(fields.get("name", "")), self._clock()
        if kind == PrivateKey.kind:
            return {**rest, "private_key": _private_key(wanted, name)}
        if kind == CaCertificate.kind:
            made = pki.new_ca(name or "CA", now=now, days=_wish(NewCa, wanted).days)
        else:
            wish = _wish(NewCertificate, wanted)
            named = bool(wish.uri or wish.dns or wish.ips)
            sign = partial(pki.issue, _authority(catalog, wish.ca, authorities)) if wish.ca else pki.self_signed
            made = sign(
                now=now,
                uri=wish.uri if named else tls.manager_uri(self._manager),
                dns=wish.dns,
                ips=map(str, wish.ips),
                days=wish.days,
            )
        return {**rest, "certificate": made.cert, "private_key": made.key}

    async def _kept(self, catalog: Catalog, change: Create | Update, password: str) -> str:
        """An Account's password as it is kept: hashed; a hash as it is; one that did not change as it was."""
        if is_password_hash(password):
            return password
        if password.startswith("$argon2") or len(password) > MAX_LENGTH:
            msg = f"must be a password of at most {MAX_LENGTH} characters, or an argon2id hash of moderate cost"
            raise _invalid(("password",), msg)
        if isinstance(change, Update):
            record = catalog.find(change.kind, change.key)
            stored = item_of(Account, record).password if record else None
            if stored and await self._passwords.verify(stored.reveal(), password):
                return stored.reveal()
        return await self._passwords.hash(password)


def decrypted(kind: str, fields: Fields) -> Fields:
    """With the private key in clear, and without the passphrase that opened it."""
    rest = {name: value for name, value in fields.items() if name != PASSPHRASE}
    passphrase, text = fields[PASSPHRASE], fields.get("private_key")
    if passphrase is None:
        return rest
    if not isinstance(passphrase, str) or not passphrase:
        raise _invalid((PASSPHRASE,), "must be a text")
    if not isinstance(text, str) or text in ("", REDACTED):
        raise _invalid((PASSPHRASE,), "goes with the private_key that it opens")
    opened = _opened_ssh if kind == PrivateKey.kind else _opened_pem
    return {**rest, "private_key": opened(text, passphrase)}


def _opened_ssh(text: str, passphrase: str) -> str:
    try:
        return keys.decrypt(Secret(text), Secret(passphrase)).reveal()
    except UspError as error:
        raise _invalid((PASSPHRASE,), error.message) from None


def _opened_pem(text: str, passphrase: str) -> str:
    try:
        key = load_pem_private_key(text.encode(), passphrase.encode())
    except TypeError:
        return text  # it is not encrypted
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid((PASSPHRASE,), "the passphrase does not open the private key") from None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _refuse_given(fields: Fields, made: Sequence[str]) -> None:
    given = [name for name in made if fields.get(name) not in (None, "", REDACTED)]
    if given:
        raise _invalid((GENERATE,), f"goes without {' and '.join(given)}: give one or the other")


def _private_key(wanted: object, name: str) -> str:
    if not isinstance(wanted, str) or wanted not in GENERATED:
        raise _invalid((GENERATE,), f"must be one of {', '.join(GENERATED)}")
    private, _ = keys.generate(GENERATED[wanted], comment=name)
    return private.reveal()


def _wish(model: type[Wish], wanted: object) -> Wish:
    if not isinstance(wanted, Mapping):
        raise _invalid((GENERATE,), f"must be an object; all of it is optional: {', '.join(model.model_fields)}")
    try:
        return model.model_validate_json(orjson.dumps(wanted))
    except orjson.JSONEncodeError:
        raise _invalid((GENERATE,), "is nested too deeply") from None
    except ValidationError as error:
        found = [Problem((GENERATE, *problem.loc), problem.msg) for problem in problems_of(error)]
        raise UspError("item.invalid", problems=found) from None


def _authority(catalog: Catalog, key: str, authorities: Authorities) -> pki.Identity:
    """The CA of that name, with its key: made by the same set of changes, or stored."""
    if key in authorities:
        return authorities[key]
    record = catalog.find(CaCertificate.kind, key)
    if record is None:
        raise _invalid((GENERATE, "ca"), f"there is no {CaCertificate.title} '{key}'")
    ca = item_of(CaCertificate, record)
    if ca.private_key is None:
        raise _invalid(
            (GENERATE, "ca"), f"the private key of {CaCertificate.title} '{key}' is not here: it cannot sign"
        )
    return pki.Identity(ca.certificate, ca.private_key.reveal())


def _invalid(loc: Loc, msg: str) -> UspError:
    return UspError("item.invalid", problems=[Problem(loc, msg)])
