"""The command line's client, against a server over real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.stand_in import TOKEN, StandIn, stand_in
from usp.cli.client import Client, segment
from usp.errors import UspError


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        yield found


@pytest.fixture
def client(site: StandIn) -> Client:
    site.answers.clear()
    site.asked.clear()
    return Client(site.url, TOKEN, site.ca)


def test_pages_are_turned(site: StandIn, client: Client) -> None:
    site.answers["GET /items/rules?limit=500"] = (200, {"items": [{"name": "a"}], "next": "a"})
    site.answers["GET /items/rules?limit=500&after=a"] = (200, {"items": [{"name": "b"}], "next": None})
    assert [item["name"] for item in client.pages("/items/rules")] == ["a", "b"]


def test_bodies_and_empty_answers(site: StandIn, client: Client) -> None:
    site.answers["POST /x?wait=3"] = (204, b"")
    assert client.post("/x", {"comment": "ä"}, wait=3) is None
    assert site.asked == [("POST /x?wait=3", {"comment": "ä"})]


def test_a_problem_becomes_its_error(site: StandIn, client: Client) -> None:
    errors = [{"loc": ["host_keys", 0], "msg": "there is no Public Key 'k'"}, {"loc": [], "msg": "odd"}]
    site.answers["POST /x"] = (422, {"code": "item.invalid", "detail": "it breaks a rule", "errors": errors})
    with pytest.raises(UspError) as caught:
        client.post("/x")
    assert (caught.value.code, caught.value.message) == ("item.invalid", "it breaks a rule")
    assert [str(problem) for problem in caught.value.problems] == ["host_keys.0: there is no Public Key 'k'", "odd"]


def test_a_newer_managers_code(site: StandIn, client: Client) -> None:
    site.answers["GET /x"] = (418, {"code": "tea.pot", "detail": "short and stout"})
    with pytest.raises(UspError, match=r"short and stout \(tea.pot\)"):
        client.get("/x")


@pytest.mark.parametrize("answer", [(200, b"<html>"), (502, b"<html>"), (404, ["no"]), (302, b""), (500, {})])
def test_who_does_not_answer_like_a_manager(site: StandIn, client: Client, answer: tuple[int, object]) -> None:
    site.answers["GET /x"] = answer
    with pytest.raises(UspError, match=f"it answered {answer[0]}, as no manager does") as caught:
        client.get("/x")
    assert caught.value.code == "manager.unreachable"


def test_only_the_ca_is_trusted(site: StandIn) -> None:
    site.asked.clear()
    with pytest.raises(UspError, match=r"its certificate is not accepted: .*USP_CA"):
        Client(site.url, TOKEN, site.other_ca).get("/x")
    assert site.asked == []


def test_nobody_there(site: StandIn) -> None:
    with pytest.raises(UspError, match=r"127\.0\.0\.1:1 does not answer: Connection refused"):
        Client("https://127.0.0.1:1", TOKEN, site.ca).get("/x")


def test_of_several_managers_the_first_that_is_reached(site: StandIn) -> None:
    site.asked.clear()
    site.answers["GET /x"] = (200, {"name": "x"})
    client = Client(f"https://127.0.0.1:1, {site.url}", TOKEN, site.ca)
    assert client.get("/x") == {"name": "x"}
    assert str(client._places[0]) == site.url.removeprefix("https://"), "the next call begins with it"
    assert client.get("/x") == {"name": "x"}
    with pytest.raises(
        UspError, match=r"127\.0\.0\.1:1 does not answer: .*; 127\.0\.0\.1:2 does not answer: "
    ) as caught:
        Client("https://127.0.0.1:1,https://127.0.0.1:2", TOKEN, site.ca).get("/x")
    assert caught.value.code == "manager.unreachable"


def test_a_wrong_certificate_is_not_passed_over(site: StandIn) -> None:
    site.asked.clear()
    with pytest.raises(UspError, match="its certificate is not accepted"):
        Client(f"{site.url},https://127.0.0.1:1", TOKEN, site.other_ca).get("/x")
    assert site.asked == []


def test_what_was_sent_to_one_manager_is_not_sent_to_another(site: StandIn) -> None:
    """It may have been done."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(site.ca).parent / "cert", Path(site.ca).parent / "key")

        def hang_up() -> None:
            with context.wrap_socket(deaf.accept()[0], server_side=True) as connection:
                connection.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        site.asked.clear()
        with pytest.raises(UspError, match="does not answer"):
            Client(f"https://127.0.0.1:{deaf.getsockname()[1]},{site.url}", TOKEN, site.ca).post("/x")
        thread.join()
    assert site.asked == []


@pytest.mark.parametrize("url", ["http://manager:8443", "manager:8443", "https://", "", "https://m:1,"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UspError, match="is not the address of a manager") as caught:
        Client(url, TOKEN)
    assert caught.value.code == "settings.invalid"


def test_what_is_no_token_is_not_repeated() -> None:
    with pytest.raises(UspError, match="USP_TOKEN") as caught:
        Client("https://manager", "very secret\n")
    assert "secret" not in str(caught.value)


def test_what_is_no_ca(tmp_path: Path) -> None:
    with pytest.raises(UspError, match="No such file"):
        Client("https://manager", TOKEN, str(tmp_path / "none"))
    (tmp_path / "empty").write_text("nothing")
    with pytest.raises(UspError, match="no certificate in PEM form"):
        Client("https://manager", TOKEN, str(tmp_path / "empty"))


def test_the_url_may_have_a_path(site: StandIn) -> None:
    site.answers["GET /x"] = (200, [])
    assert Client(f"{site.url}/api/v1/", TOKEN, site.ca).get("/x") == []


def test_names_are_quoted() -> None:
    assert segment("../a b/c?") == "..%2Fa%20b%2Fc%3F"
