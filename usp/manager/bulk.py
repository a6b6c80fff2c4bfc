"""Use cases for configuration as code: export everything, apply a whole set. (What a set is: usp.manager.sets.)"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from usp.errors import Problem, UspError
from usp.manager import sets
from usp.manager.app import App
from usp.manager.catalog import Catalog
from usp.manager.sealing import MIN_PASSPHRASE, Seal
from usp.manager.sets import Document, Plan, Wanted
from usp.manager.store.rows import Role
from usp.manager.users import Actor
from usp.secret import Secret

ATTEMPTS: Final = 5
"""A set that loses the race is planned again on the new catalog; so often at the most."""


async def export(app: App) -> tuple[Catalog, dict[str, list[Document]]]:
    """Everything, without secrets."""
    catalog = await app.catalog()
    return catalog, sets.documents(catalog)


async def export_sealed(app: App, actor: Actor, passphrase: Secret) -> tuple[Catalog, dict[str, list[Document]]]:
    """Everything, with the secrets sealed to a passphrase."""
    actor.require(Role.ADMIN)
    if len(passphrase.reveal()) < MIN_PASSPHRASE:
        msg = f"must have at least {MIN_PASSPHRASE} characters: it alone protects every secret of the export"
        raise UspError("request.invalid", problems=[Problem(("passphrase",), msg)])
    catalog = await app.catalog()
    seal = await asyncio.to_thread(Seal, passphrase, sets.salt_for(catalog))
    await app.note(actor, "export", "sealed", revision=catalog.revision)
    return catalog, sets.documents(catalog, sets.sealed_by(seal))


async def apply(
    app: App,
    actor: Actor,
    body: Any,
    *,
    passphrase: Secret | None = None,
    prune: bool = False,
    dry_run: bool = False,
    expected: Collection[int] | None = None,
) -> Plan:
    """Make the catalog hold what is in the set, all or nothing; with `dry_run` only say what that would change.

    `expected`: the catalog must still have one of those revisions (item.stale). UspError item.*, request.invalid, or
    catalog.conflict when others write all the time.
    """
    actor.require(Role.ADMIN)
    items = await _opened(sets.wanted(body), passphrase)
    async with app.turn:
        for _ in range(ATTEMPTS):
            catalog = await app.catalog()
            if expected is not None and catalog.revision not in expected:
                what = f"the configuration has revision {catalog.revision} by now: look at it again"
                raise UspError("item.stale", what)
            changes = await app.entry.admit(catalog, sets.changes(catalog, items, prune=prune))
            delta = app.delta(catalog, changes)
            if dry_run or await app.save(actor, delta):
                return sets.plan(delta, items, applied=not dry_run)
    raise UspError("catalog.conflict")


async def _opened(items: list[Wanted], passphrase: Secret | None) -> list[Wanted]:
    if passphrase is None:
        return sets.opened(items, None)
    seals = {salt: await asyncio.to_thread(Seal, passphrase, salt) for salt in sets.salts(items)}
    return sets.opened(items, seals)
