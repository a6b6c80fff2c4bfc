"""Twelve planted misconfigurations and more, each named with what to do; and a sound host, of which nothing is said."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.ports import free_port
from usp import pki, tls
from usp.cli.main import main
from usp.ssh import keys

NOW = datetime.now(UTC)
CA = pki.new_ca("ca", now=NOW)
PRIVATE, PUBLIC = keys.generate()


class Host:
    """A directory with the three configurations, sound until a test spoils them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("web", "metrics")}
        self.identity("server", pki.issue(CA, now=NOW, uri=tls.server_uri("s"), days=400))
        self.identity("web", pki.issue(CA, now=NOW, dns=["m"], days=400))
        self.write("ca.crt", CA.cert)
        self.write("client.key", PRIVATE.reveal())
        self.write("usp.db", "")
        self.server = self.write("usp-server.hcl", f"""
            name = "s"
            workers = 1
            web {{
              address = "127.0.0.1"
              port = {self.ports["web"]}
              tls {{
                cert = "{folder}/server.crt"
                key = "{folder}/server.key"
                ca = "{folder}/ca.crt"
              }}
            }}
            log {{
              path = "{folder}/server.log"
            }}
            metrics {{
              port = {self.ports["metrics"]}
            }}
        """)  # fmt: skip
        self.manager = self.write("usp-manager.hcl", f"""
            encryption {{
              kek = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
            }}
            database {{
              path = "{folder}/usp.db"
            }}
            web {{
              address = "127.0.0.1"
              port = {self.ports["web"]}
              tls {{
                cert = "{folder}/web.crt"
                key = "{folder}/web.key"
              }}
            }}
        """)  # fmt: skip
        self.target = socket.create_server(("127.0.0.1", 0))
        self.client = self.write("usp-client.hcl", f"""
            name = "c"
            key = "{folder}/client.key"
            allow = ["127.0.0.1:{self.target.getsockname()[1]}", "10.0.0.0/8:22"]
            tunnel {{
              host = "127.0.0.1"
              port = {self.target.getsockname()[1]}
              host_key = "{PUBLIC}"
            }}
        """)  # fmt: skip

    def identity(self, name: str, made: pki.Identity) -> None:
        self.write(f"{name}.crt", made.cert)
        self.write(f"{name}.key", made.key)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def spoil(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def found(self, *daemons: str, url: str = "") -> list[str]:
        """The lines about what is wrong, without what depends on the machine that tests run on."""
        arguments = [part for daemon in daemons for part in (f"--{daemon}", str(self.folder / f"usp-{daemon}.hcl"))]
        env = {"USP_URL": url, "USP_CA": str(self.folder / "ca.crt"), "HOME": str(self.folder)}
        result = CliRunner().invoke(main, ["doctor", *arguments], env=env, catch_exceptions=False)
        *lines, summary = [line for line in result.stdout.splitlines() if "not synchronised" not in line]
        assert result.exit_code == any(line.startswith("WRONG") for line in lines)
        assert summary.startswith(", ".join(f"usp-{daemon}" for daemon in daemons))
        return [line for line in lines if "belongs to root" not in line]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.target.close()


def test_of_a_sound_host_nothing_is_said(host: Host) -> None:
    assert host.found("server", "client", "manager") == []


def unknown_argument(host: Host) -> None:
    host.spoil(host.server, "workers", "wrokers")


def key_that_others_read(host: Host) -> None:
    (host.folder / "server.key").chmod(0o644)


def expired_certificate(host: Host) -> None:
    host.identity("server", pki.issue(CA, now=NOW - timedelta(days=9), uri=tls.server_uri("s"), days=3))


def certificate_of_tomorrow(host: Host) -> None:
    host.identity("server", pki.issue(CA, now=NOW + timedelta(days=2), uri=tls.server_uri("s"), days=400))


def certificate_for_another_name(host: Host) -> None:
    host.identity("server", pki.issue(CA, now=NOW, uri=tls.server_uri("other"), days=400))


def key_of_another_certificate(host: Host) -> None:
    host.write("server.key", pki.new_ca("x", now=NOW).key)


def no_ca(host: Host) -> None:
    host.write("ca.crt", (host.folder / "web.crt").read_text())


def directory_missing(host: Host) -> None:
    host.spoil(host.server, "server.log", "logs/server.log")


def address_of_elsewhere(host: Host) -> None:
    host.spoil(host.server, 'address = "127.0.0.1"', 'address = "192.0.2.1"')


def too_many_sessions(host: Host) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    host.spoil(host.server, "workers = 1", f"workers = 1\nserver {{\n max_sessions = {min(limit, 1_000_000)}\n}}")


def workers_free(host: Host) -> None:
    host.spoil(host.server, "workers = 1", "workers = 1\nserver {\n sandbox = false\n}")


def metrics_for_all(host: Host) -> None:
    host.spoil(host.server, "metrics {", 'metrics {\n address = "0.0.0.0"')


def name_that_does_not_resolve(host: Host) -> None:
    host.spoil(host.client, 'host = "127.0.0.1"', 'host = "nobody.invalid"')


def tunnel_without_listener(host: Host) -> None:
    text = host.client.read_text()
    port = host.target.getsockname()[1]
    host.client.write_text(text.replace(f"port = {port}", f"port = {free_port()}"))


def target_away(host: Host) -> None:
    host.spoil(host.client, "10.0.0.0/8:22", f"127.0.0.1:{free_port()}")


def client_key_is_no_key(host: Host) -> None:
    host.write("client.key", "no key")


def host_key_is_no_key(host: Host) -> None:
    host.spoil(host.client, PUBLIC.split()[1], "AAAA")


def kek_too_short(host: Host) -> None:
    host.spoil(host.manager, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "AAEC")


def secrets_for_everybody(host: Host) -> None:
    host.manager.chmod(0o644)


def no_database(host: Host) -> None:
    (host.folder / "usp.db").unlink()


def database_away(host: Host) -> None:
    there = f'engine = "postgresql"\n host = "127.0.0.1"\n port = {free_port()}\n user = "u"\n password = "p"\n}}'
    host.spoil(host.manager, f'path = "{host.folder}/usp.db"\n            }}', there)


def certificate_without_names(host: Host) -> None:
    host.identity("web", pki.issue(CA, now=NOW, uri=tls.manager_uri("m"), days=400))


PLANTED = [
    (unknown_argument, "server", "wrokers", "did you mean workers?"),
    (key_that_others_read, "server", "web.tls.key", "chmod 600"),
    (expired_certificate, "server", "web.tls.cert", "expired on"),
    (certificate_of_tomorrow, "server", "web.tls.cert", "set this machine's clock"),
    (certificate_for_another_name, "server", "web.tls.cert", "names usp://server/other, but managers look for"),
    (key_of_another_certificate, "server", "web.tls", "belong together"),
    (no_ca, "server", "web.tls.ca", "is no CA's certificate"),
    (directory_missing, "server", "log.path", "does not exist (install -d"),
    (address_of_elsewhere, "server", "web.port", "is no address of this machine"),
    (too_many_sessions, "server", "server.max_sessions", "LimitNOFILE="),
    (workers_free, "server", "server.sandbox", "may open what the daemon's user may"),
    (metrics_for_all, "server", "metrics.address", "may be reached from outside"),
    (name_that_does_not_resolve, "client", "tunnel.host", "does not resolve here"),
    (tunnel_without_listener, "client", "tunnel.host", "does it run, and listen there?"),
    (target_away, "client", "allow", "does it run, and listen there?"),
    (client_key_is_no_key, "client", "key", "client.key"),
    (host_key_is_no_key, "client", "tunnel.host_key", "the Tunnel's public key"),
    (kek_too_short, "manager", "encryption.kek", "openssl rand -base64 32"),
    (secrets_for_everybody, "manager", "usp-manager.hcl", "chmod o-rwx"),
    (no_database, "manager", "database.path", "usp-manager db upgrade"),
    (database_away, "manager", "database.host", "does it run, and listen there?"),
    (certificate_without_names, "manager", "web.tls.cert", "no client accepts it"),
]


@pytest.mark.parametrize(("plant", "daemon", "about", "words"), PLANTED, ids=lambda each: getattr(each, "__name__", ""))
def test_each_is_named_with_what_to_do(host: Host, plant: Any, daemon: str, about: str, words: str) -> None:
    plant(host)
    (line,) = host.found(daemon)
    assert f" usp-{daemon}: " in line
    assert about in line
    assert words in line


def test_twelve_at_once(host: Host) -> None:
    """None hides another."""
    planted = [
        certificate_for_another_name, key_that_others_read, directory_missing, address_of_elsewhere, too_many_sessions,
        metrics_for_all, name_that_does_not_resolve, target_away, client_key_is_no_key, secrets_for_everybody,
        no_database, certificate_without_names,
    ]  # fmt: skip
    for plant in planted:
        plant(host)
    lines = host.found("server", "client", "manager")
    expected = [(about, words) for plant, _, about, words in PLANTED if plant in planted]
    assert len(lines) == len(expected) == 12
    for about, words in expected:
        assert [line for line in lines if about in line and words in line], (about, lines)


def test_a_port_that_another_program_has_and_one_that_is_ours(host: Host) -> None:
    with socket.create_server(("127.0.0.1", host.ports["metrics"])) as taken:
        taken.settimeout(0.1)
        threading.Thread(target=lambda: taken.accept()[0].close(), daemon=True).start()
        (line,) = host.found("server")
        assert "metrics.port" in line
        assert "taken by another program" in line
    with site(host, host.ports["web"], "server"):
        assert host.found("server") == []
    with site(host, host.ports["web"], "web"):
        (line,) = host.found("server")
        assert "web.port" in line


def test_another_version_runs_than_is_installed(host: Host) -> None:
    text = 'usp_build_info{version="0.0.1"} 1.0\n'
    with site(host, host.ports["metrics"], None, {"/metrics": text, "/livez": "ok\n"}):
        (line,) = host.found("server")
    assert "0.0.1 runs" in line
    assert "restart the daemon" in line


def test_clocks_that_differ_and_a_manager_that_is_away(host: Host) -> None:
    port = free_port()
    host.identity("web", pki.issue(CA, now=NOW, dns=["localhost"]))
    url = f"https://localhost:{port}"
    with site(host, port, "web", date="Mon, 23 Nov 2020 12:00:00 GMT"):
        (line,) = host.found("server", url=url)
    assert "s ahead of the manager's" in line
    (line,) = host.found("server", url=url)
    assert f"{url} does not answer" in line


def test_for_machines_and_without_anything_to_look_at(host: Host) -> None:
    unknown_argument(host)
    env = {"HOME": str(host.folder)}
    result = CliRunner().invoke(main, ["doctor", "--server", str(host.server), "--json"], env=env)
    answer = json.loads(result.stdout)
    assert answer["daemons"] == ["usp-server"]
    assert {"where": "usp-server", "about": "wrokers"}.items() <= answer["findings"][-1].items()
    nothing = CliRunner().invoke(main, ["doctor"], env={"HOME": str(host.folder)})
    assert nothing.exit_code == 2
    assert "name one, such as --server FILE" in nothing.stderr


class site:  # noqa: N801
    """A small web server on a port, with or without TLS."""

    def __init__(
        self, host: Host, port: int, identity: str | None, answers: dict[str, str] | None = None, date: str = ""
    ) -> None:
        found = answers or {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = found.get(self.path, "ok\n").encode()
                self.send_response_only(200)
                if date:
                    self.send_header("Date", date)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Handshakes that are broken off."""

        self.server = Server(("127.0.0.1", port), Handler)
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(host.folder / f"{identity}.crt", host.folder / f"{identity}.key")
            self.server.socket = context.wrap_socket(self.server.socket, True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
