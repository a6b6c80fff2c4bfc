from __future__ import annotations

from tests.catalogs import changed, edit, sample
from usp.haproxy import Server, Service
from usp.manager.balance import configuration, services
from usp.manager.catalog import Catalog, Create

PROXY = {"proxy_protocol": "required", "proxy_trusted": ["192.0.2.1/32"]}


def everywhere() -> Catalog:
    """`sftp` on both servers, `tcp` on one."""
    return changed(
        sample(),
        Create("deployments", {"name": "sftp-dmz2", "listener": "sftp", "proxy_server": "dmz2"}),
        Create("deployments", {"name": "tcp-dmz2", "listener": "tcp", "proxy_server": "dmz2"}),
    )


def found(catalog: Catalog, agent_port: int = 0) -> list[Service]:
    return list(services(catalog, bind="198.51.100.1", agent_port=agent_port))


def test_one_service_per_listener_over_its_servers() -> None:
    one, two = Server("dmz", "dmz.example.org", 2222, 9), Server("dmz2", "dmz2.example.org", 2222, 9)
    tcp = Server("dmz2", "dmz2.example.org", 2224, 9)
    assert found(everywhere(), 9) == [
        Service("sftp", "198.51.100.1", 2222, [one, two]),
        Service("tcp", "198.51.100.1", 2224, [tcp], banner=False),
    ]


def test_proxy_protocol_and_an_address_of_its_own() -> None:
    catalog = everywhere()
    catalog = changed(catalog, edit(catalog, "listeners", "sftp", address="192.0.2.9", **PROXY))
    assert found(catalog)[0] == Service(
        "sftp",
        "198.51.100.1",
        2222,
        [Server("dmz", "192.0.2.9", 2222), Server("dmz2", "192.0.2.9", 2222)],
        proxy=True,
    )


def test_what_is_disabled_or_deployed_nowhere_is_left_out() -> None:
    catalog = everywhere()
    for kind, name, left in (
        ("listeners", "sftp", ["tcp"]),
        ("deployments", "tcp-dmz2", ["sftp"]),
        ("proxy-servers", "dmz2", ["sftp"]),
    ):
        names = [each.name for each in found(changed(catalog, edit(catalog, kind, name, enabled=False)))]
        assert names == left
    assert [each.name for each in found(sample())] == ["sftp"]


def test_the_text() -> None:
    text = configuration(everywhere())
    assert "bind 0.0.0.0:2222" in text
    assert "server dmz2 dmz2.example.org:2222\n" in text
    assert "agent-check" not in text
    assert "agent-port 7" in configuration(everywhere(), agent_port=7)
