"""An Account Repository made ready: partners' logins by user name, keys in the form in which partners send them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from usp.passwords import decoy
from usp.secret import Secret
from usp.sftp.policy import Policy


@dataclass(frozen=True, slots=True)
class Account:
    """`password`: argon2id hash. `public_keys`: SSH wire format. `policy`: instead of the Rule's."""

    username: str
    password: Secret | None = None
    public_keys: frozenset[bytes] = frozenset()
    target_username: str | None = None
    policy: Policy | None = None


class Accounts:
    """`decoy`: what the password of somebody unknown is checked against, at the cost of the others' hashes."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_name = {account.username: account for account in accounts}
        some = next((account.password for account in self._by_name.values() if account.password), None)
        self.decoy = decoy(some.reveal() if some else None)

    def find(self, username: str) -> Account | None:
        return self._by_name.get(username)

    def __len__(self) -> int:
        return len(self._by_name)
