"""The manager's REST API, as the command line speaks it.

Plain `http.client`: a command shall not wait for imports. HTTPS only, and redirects are not followed, because a bearer
token goes along. Of several managers the first that can be reached is asked; what was sent to one is never sent to
another, because it may have been done.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from usp.errors import CODES, Problem, UspError

BASE: Final = "/api/v1"
PAGE: Final = 500
CONNECT_TIMEOUT: Final = 5.0  # to each of several managers
STREAM_TIMEOUT: Final = 60.0  # a stream without events says every 15 seconds that it lives
NOT_JSON: Final = object()
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Client:
    """The managers and who we are there ("": nobody yet). Every call is one request. `url`: several, with commas."""

    def __init__(self, url: str, token: str, ca: str | None = None, timeout: float = 30.0) -> None:
        if any(character.isspace() for character in token) or not token.isascii():
            raise _usage("the token (USP_TOKEN) is not one: it contains spaces or strange characters")
        self._places = [_place(each.strip()) for each in url.split(",")]
        self._token = token
        self._timeout = timeout
        self._context = _context(ca)

    def get(self, path: str, /, **query: str | int) -> Any:
        return self.ask("GET", path, query)

    def text(self, path: str, **query: str | int) -> str:
        """What is no JSON, but a file."""
        with self._asked("GET", path, query, None, {"Accept": "text/plain"}, self._timeout) as response:
            content = response.read()
            if response.status != http.client.OK:
                _answer(response.status, content)
            return content.decode()

    def post(self, path: str, body: Any = None, *, patience: float = 0.0, **query: str | int) -> Any:
        """`patience`: seconds that the answer may take beyond the usual."""
        return self.ask("POST", path, query, body, patience)

    def put(self, path: str, body: Any, *, revision: int) -> Any:
        """Refused when the item is not at that revision any more."""
        return self.ask("PUT", path, {}, body, headers={"If-Match": f'"{revision}"'})

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """Every entry of a list, however many pages it has."""
        for answer in self._pages(path, query):
            yield from answer["items"]

    def whole(self, path: str, **query: str | int) -> dict[str, Any]:
        """The same as one answer, with what the list says beside its entries."""
        answers = list(self._pages(path, query))
        return {**answers[-1], "items": [entry for answer in answers for entry in answer["items"]]}

    def _pages(self, path: str, query: Mapping[str, str | int]) -> Iterator[Any]:
        after: dict[str, str | int] = {}
        while True:
            answer = self.get(path, **{"limit": PAGE, **query, **after})
            yield answer
            if not answer.get("next"):
                return
            after = {"after": answer["next"]}

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Any = None,
        patience: float = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Any:
        """The answer's JSON, None for an empty one; UspError for everything from 400 on."""
        content = None
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
            content = json.dumps(body)
        with self._asked(method, path, query, content, headers, self._timeout + patience) as response:
            return _answer(response.status, response.read())

    def stream(self, path: str, /, **query: str | int) -> Iterator[str]:
        """The data of server-sent events, until the manager ends them."""
        with self._asked("GET", path, query, None, {"Accept": "text/event-stream"}, STREAM_TIMEOUT) as response:
            if response.status != http.client.OK:
                _answer(response.status, response.read())
            for line in response:
                if line.startswith(b"data: "):
                    yield line.removeprefix(b"data: ").decode().rstrip("\n")

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        content: str | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> Iterator[http.client.HTTPResponse]:
        who = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection, place = self._connected(timeout)
        target = place.prefix + path + (f"?{urlencode(query)}" if query else "")
        try:
            connection.request(method, target, content, {"Accept": "application/json", **who, **headers})
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise UspError("manager.unreachable", f"{place} does not answer: {_why(error)}") from None
        finally:
            connection.close()

    def _connected(self, timeout: float) -> tuple[http.client.HTTPSConnection, _Place]:
        """To the first manager that can be reached; the next call begins with it."""
        failed: list[str] = []
        patience = timeout if len(self._places) == 1 else min(timeout, CONNECT_TIMEOUT)
        for place in self._places:
            connection = http.client.HTTPSConnection(place.host, place.port, context=self._context, timeout=patience)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                failed.append(f"{place} does not answer: {_why(error)}")
                if isinstance(error, ssl.SSLCertVerificationError):
                    break  # somebody should look into that
                continue
            connection.sock.settimeout(timeout)
            self._places.sort(key=lambda each: each != place)
            return connection, place
        raise UspError("manager.unreachable", "; ".join(failed))


def _place(url: str) -> _Place:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise _usage(f"'{url}' is not the address of a manager, such as https://manager.example:8443")
    return _Place(parts.hostname, parts.port or 443, parts.path.rstrip("/").removesuffix(BASE) + BASE)


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _context(ca: str | None) -> ssl.SSLContext:
    """Trusts that CA only; without one, those that this machine trusts."""
    try:
        return ssl.create_default_context(cadata=Path(ca).read_text() if ca else None)
    except (ssl.SSLError, UnicodeDecodeError):
        raise _usage(f"'{ca}' (USP_CA) holds no certificate in PEM form") from None
    except OSError as error:
        raise _usage(f"the CA certificate '{ca}' (USP_CA) cannot be read: {error.strerror}") from None


def _usage(message: str) -> UspError:
    return UspError("settings.invalid", message)


def _answer(status: int, content: bytes) -> Any:
    try:
        answer = json.loads(content) if content else None
    except ValueError:
        answer = NOT_JSON
    if status < 300 and answer is not NOT_JSON:
        return answer
    if not isinstance(answer, dict) or "code" not in answer:
        raise UspError("manager.unreachable", f"it answered {status}, as no manager does: is the address right?")
    raise _refusal(answer)


def _refusal(answer: Mapping[str, Any]) -> UspError:
    """The manager's problem (RFC 9457), with its own words. A newer manager may have codes that we do not know."""
    code, message = str(answer["code"]), str(answer.get("detail", ""))
    if code not in CODES:
        code, message = "internal", f"{message} ({code})"
    problems = [Problem(tuple(each.get("loc", ())), str(each.get("msg"))) for each in answer.get("errors", ())]
    return UspError(code, message, problems=problems)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message} (USP_CA names the CA to trust)"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
