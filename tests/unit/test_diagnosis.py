"""What is asked and answered travels as JSON, and shows no password by accident."""

from __future__ import annotations

from pydantic import TypeAdapter

from usp.diagnosis import KeyScan, Login, PathProbe, Task
from usp.secret import REVEAL, Secret
from usp.snapshot import PathSpec


def test_tasks_are_told_apart() -> None:
    adapter: TypeAdapter[Task] = TypeAdapter(Task)
    path = PathSpec(tunnel="t", client="c")
    login = Login(username="u", password=Secret("hidden"))
    for task in (KeyScan(host="h", path=path), PathProbe(host="h", port=22), PathProbe(host="h", port=22, login=login)):
        assert adapter.validate_json(task.model_dump_json(context=REVEAL)) == task
        assert "hidden" not in task.model_dump_json() + repr(task)
