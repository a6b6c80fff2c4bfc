"""Pushes to several servers, one after another: beginning one, and what becomes of it, live, from any manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from usp.errors import UspError
from usp.manager.api.errors import STATUS
from usp.manager.api.pushes import PushMany
from usp.manager.rollout import RolloutState, StepState
from usp.manager.ui import pages
from usp.manager.ui.account import told
from usp.manager.ui.configuration import sent_form
from usp.manager.ui.forms import Sent
from usp.manager.ui.status import the_board
from usp.manager.ui.users import checked
from usp.manager.ui.visits import Visit, Visiting
from usp.manager.ui.words import Chip, Tone, of_tone

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/pushes"
PAGE: Final = 30
TONES: Final[Mapping[RolloutState | StepState, Tone]] = {
    RolloutState.RUNNING: Tone.BUSY,
    RolloutState.DONE: Tone.OK,
    RolloutState.STOPPED: Tone.BAD,
    StepState.WAITING: Tone.OFF,
    StepState.PUSHING: Tone.BUSY,
    StepState.APPLIED: Tone.OK,
    StepState.REJECTED: Tone.BAD,
    StepState.LATE: Tone.WARN,
    StepState.SKIPPED: Tone.OFF,
}

Number = Annotated[int | None, Query(ge=0, le=2**53)]


def chip(state: RolloutState | StepState) -> Chip:
    return of_tone(TONES[state], state.value)


@router.get("/pushes")
async def pushes(visit: Visiting, before: Number = None) -> Response:
    return await _all(visit, before)


async def _all(
    visit: Visit, before: int | None = None, error: UspError | None = None, sent: Sent | None = None
) -> Response:
    picture = await the_board(visit.request).look()
    found = await visit.app.store.rollouts.page(before=before, limit=PAGE)
    return pages.page(
        visit,
        "rollouts.html",
        "Push to several",
        at="pushes",
        status=STATUS[error.kind] if error else 200,
        rows=sorted(picture.rows, key=lambda row: not (row.due and row.due.changed)),
        rollouts=found,
        more=found[-1].id if len(found) == PAGE else None,
        chip_of=chip,
        error=error,
        sent=sent or {},
    )


@router.post("/pushes")
async def begin(visit: Visiting) -> Response:
    """To those that are chosen, in the order of the page."""
    sent = await sent_form(visit)

    def last(name: str) -> str:
        return (sent.get(name) or [""])[-1].strip()

    wanted: dict[str, Any] = {
        "servers": list(sent.get("server", ())),
        "canary": last("canary") == "on",
        "force": last("force") == "on",
        "comment": last("comment"),
    }
    try:
        asked: PushMany = checked(PushMany, wanted)
        made = await visit.app.rollouts.start(
            visit.actor, asked.servers, canary=asked.canary, comment=asked.comment, force=asked.force
        )
    except UspError as error:
        told(error)
        return await _all(visit, None, error, sent)
    return pages.onward(f"{PATH}/{made.id}")


@router.get("/pushes/{id}")
async def one(visit: Visiting, id: int) -> Response:
    found = await visit.app.store.rollouts.get(id)
    told: dict[str, Any] = {"rollout": found, "chip_of": chip, "running": found.state is RolloutState.RUNNING}
    if visit.partial:
        return pages.part(visit, "rollout_steps.html", **told)
    return pages.page(visit, "rollout.html", f"Push {id}", at="pushes", **told)
