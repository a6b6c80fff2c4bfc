"""Starting and stopping the listeners of Deployments, and Tunnels."""

from __future__ import annotations

from fastapi import APIRouter

from usp.manager.api.auth import Admin, TheApp
from usp.manager.app import RUNNABLE
from usp.manager.store.rows import RunState
from usp.model import KINDS, Model

router = APIRouter()

VERBS = {"start": RunState.STARTED, "stop": RunState.STOPPED}


class Wanted(Model):
    """The state that is wanted from now on; the server follows."""

    state: RunState


def _add(kind: str, verb: str, state: RunState) -> None:
    @router.post(
        f"/{kind}/{{name}}/{verb}",
        operation_id=f"{verb}_{KINDS[kind].title.lower()}",
        tags=[kind],
        summary=f"{verb.capitalize()} a {KINDS[kind].title}",
        description="And keep it so, over restarts of managers and servers. It is done when its server reports it.",
        status_code=202,
    )
    async def set_run_state(app: TheApp, actor: Admin, name: str) -> Wanted:
        await app.set_run_state(actor, kind, name, state)
        return Wanted(state=state)


for _kind in RUNNABLE:
    for _verb, _state in VERBS.items():
        _add(_kind, _verb, _state)
