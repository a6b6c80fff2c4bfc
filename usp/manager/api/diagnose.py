"""Finding out what is wrong: explain a connection and test its path, read host keys, test an address."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field, StrictBool

from usp import diagnosis
from usp.diagnosis import Diagnosis
from usp.errors import Problem, UspError
from usp.manager.api.access import Body
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.diagnose import Through
from usp.manager.explain import Explanation, Question
from usp.model import FilterAction, Model
from usp.secret import Secret

router = APIRouter(tags=["diagnose"])

Key = Annotated[str, Field(min_length=1, max_length=255)]
Address = Annotated[str, Field(min_length=1, max_length=64)]


class Login(Body):
    """Credentials to try at the target."""

    username: Key
    password: Secret


class Explain(Body):
    """A connection to be explained."""

    server: Key = Field(description="Name or id of a Proxy Server")
    listener: Key = Field(description="Name or id of a Listener")
    source: Address = Field(description="The partner's IP address")
    user: Key = Field(description="What the partner logs in as")
    probe: StrictBool = Field(default=False, description="Have the server test the path, too; for administrators")
    login: Login | Literal["dedicated"] | None = Field(
        default=None, description="With probe: log in at the target; 'dedicated' with the credentials of the Rule"
    )


class Explained(Explanation):
    """An explanation, and what the server found."""

    probe: Diagnosis | None = Field(default=None, description="What the server found, if that was asked for")


class Scan(Body):
    """Who shall look at the target."""

    server: Key = Field(description="Name or id of the Proxy Server that shall look")
    tunnel: Key | None = Field(default=None, description="Look through this Tunnel, from `proxy_client`")
    proxy_client: Key | None = None


class Test(Body):
    """An address to be tested."""

    address: Address = Field(description="An IP address")


class Verdict(Model):
    """`rule`: block, allow or default; `network`: what the deciding rule says; `text`: the same as a sentence."""

    action: FilterAction
    rule: str
    network: str
    text: str


@router.post("/explain", operation_id="explain")
async def explain(app: TheApp, actor: Asking, body: Explain) -> Explained:
    """Which Inbound Node, Rule, Account, target and path a partner's connection gets, and why not another."""
    question = Question(body.server, body.listener, body.source, body.user)
    found = await app.diagnostics.explain(question)
    if not body.probe:
        return Explained(**dict(found))
    login: diagnosis.Login | str | None = "dedicated" if body.login == "dedicated" else None
    if isinstance(body.login, Login):
        login = diagnosis.Login(username=body.login.username, password=body.login.password)
    return Explained(**dict(found), probe=await app.diagnostics.probe(actor, body.server, found, login))


@router.post("/outbound-nodes/{name}/scan-host-key", operation_id="scan_host_key")
async def scan_host_key(app: TheApp, actor: Admin, name: str, body: Scan) -> Diagnosis:
    """The host keys that the target shows. Compare the fingerprints with what its administrator says before pinning."""
    through = None
    if body.tunnel is not None and body.proxy_client is not None:
        through = Through(body.tunnel, body.proxy_client)
    elif body.tunnel is not None or body.proxy_client is not None:
        missing = "tunnel" if body.tunnel is None else "proxy_client"
        raise UspError("request.invalid", problems=[Problem((missing,), "tunnel and proxy_client go together")])
    return await app.diagnostics.scan(actor, name, body.server, through)


@router.post("/ip-filters/{name}/test", operation_id="test_ip_filter")
async def test_ip_filter(app: TheApp, actor: Asking, name: str, body: Test) -> Verdict:
    """What an IP Filter says of an address, and which rule of it decides."""
    found = await app.diagnostics.test_address(name, body.address)
    return Verdict(action=found.action, rule=found.rule, network=found.network, text=str(found))
