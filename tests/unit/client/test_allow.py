from __future__ import annotations

import pytest

from usp.client.allow import AllowList, Deny, Permit
from usp.errors import UspError

LIST = AllowList.of(["10.0.0.0/8:22", "sftp.internal:22", "192.0.2.7:*", "[2001:db8::/32]:2222", "Odd.Example.:990"])


@pytest.mark.parametrize(
    ("host", "port", "resolved", "permitted"),
    [
        ("10.1.2.3", 22, ["10.1.2.3"], ["10.1.2.3"]),
        ("10.1.2.3", 23, ["10.1.2.3"], None),
        ("11.1.2.3", 22, ["11.1.2.3"], None),
        ("anything.example", 22, ["10.9.9.9"], ["10.9.9.9"]),
        ("anything.example", 22, ["203.0.113.1", "10.9.9.9"], ["10.9.9.9"]),
        ("sftp.internal", 22, ["203.0.113.1", "10.9.9.9"], ["203.0.113.1", "10.9.9.9"]),
        ("SFTP.internal.", 22, ["203.0.113.1"], ["203.0.113.1"]),
        ("sftp.internal", 2222, ["203.0.113.1"], None),
        ("xsftp.internal", 22, ["203.0.113.1"], None),
        ("sftp.internal.evil.example", 22, ["203.0.113.1"], None),
        ("192.0.2.7", 1, ["192.0.2.7"], ["192.0.2.7"]),
        ("192.0.2.8", 1, ["192.0.2.8"], None),
        ("six", 2222, ["2001:db8::1"], ["2001:db8::1"]),
        ("six", 22, ["2001:db8::1"], None),
        ("mapped", 22, ["::ffff:10.0.0.1"], ["10.0.0.1"]),
        ("mapped", 22, ["::ffff:11.0.0.1"], None),
        ("twice", 22, ["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]),
        ("odd.example", 990, ["198.51.100.1"], ["198.51.100.1"]),
        ("nowhere", 22, [], None),
        ("", 22, ["127.0.0.1"], None),
    ],
)
def test_decisions(host: str, port: int, resolved: list[str], permitted: list[str] | None) -> None:
    decision = LIST.decide(host, port, resolved)
    if permitted is None:
        assert decision == Deny(f"{host}:{port} is not on the allow list")
    else:
        assert decision == Permit(tuple(permitted))


def test_an_empty_list_permits_nothing() -> None:
    empty = AllowList.of([])
    assert isinstance(empty.decide("10.0.0.1", 22, ["10.0.0.1"]), Deny)
    assert not empty.could_permit("10.0.0.1", 22)


def test_what_cannot_be_permitted_is_not_resolved() -> None:
    names = AllowList.of(["sftp.internal:22", "ftp.internal:*"])
    assert names.could_permit("sftp.internal", 22)
    assert names.could_permit("ftp.internal", 1)
    assert not names.could_permit("sftp.internal", 23)
    assert not names.could_permit("other.internal", 22)
    assert LIST.could_permit("other.internal", 22)  # its address may lie in a network


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("10.0.0.0/8", "is not WHERE:PORT"),
        (":22", "is not WHERE:PORT"),
        ("10.0.0.1/8:22", "canonical network"),
        ("10.0.0.300:22", "not an IP address or a canonical network"),
        ("10.0.0.0/8:0", "is not a port"),
        ("10.0.0.0/8:65536", "is not a port"),
        ("10.0.0.0/8:ssh", "is not a port"),
        ("10.0.0.0/8:٢٢", "is not a port"),
        ("2001:db8::/32:22", "write IPv6 in brackets"),
        ("[2001:db8::1/32]:22", "canonical network"),
        ("[sftp.internal]:22", "not an IP address"),
        ("sftp internal:22", "is not a host name"),
        ("*.internal:22", "is not a host name"),
        ("-x:22", "is not a host name"),
    ],
)
def test_wrong_entries_are_located(entry: str, complaint: str) -> None:
    with pytest.raises(UspError) as caught:
        AllowList.of(["10.0.0.0/8:22", entry])
    (problem,) = caught.value.problems
    assert problem.loc == ("allow", 1)
    assert complaint in problem.msg
