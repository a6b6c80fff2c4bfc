"""The guides as readers use them: what the demo prints is done, and each page's blocks run against a live gateway."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector import Collector
from tests.e2e.suite import ENV, ROOT, Suite, running

pytestmark = pytest.mark.once
BLOCK = re.compile(r"^```sh run gateway\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {page: blocks for page in sorted((ROOT / "docs").glob("*.md")) if (blocks := BLOCK.findall(page.read_text()))}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Suite]:
    """As `make run` starts it, in a home of its own, and with traces (docs/traces.md)."""
    env = {"HOME": str(tmp_path_factory.mktemp("home")), "USP_TRACES__ENDPOINT": collector.endpoint}
    with running("--workers", "1", env=env) as suite:
        yield suite


def said(demo: Suite, what: str) -> str:
    text = (demo.dir.parent / "demo.log").read_text()
    (line,) = re.findall(rf"^ *{what}: +(.+?)$", text, re.MULTILINE)
    return str(line)


def test_the_quick_start(demo: Suite, tmp_path: Path) -> None:
    """The words of README.md, and what they say."""
    for word in ("As a partner:", "Password:", "Files land in:", "Web UI:"):
        assert word in (ROOT / "README.md").read_text()
    (tmp_path / "hello").write_text("hello")
    command = f"sshpass -e {said(demo, 'As a partner')} <<< 'put {tmp_path}/hello quick-start'"
    env = {**os.environ, "SSHPASS": said(demo, "Password")}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (Path(said(demo, "Files land in")) / "quick-start").read_text() == "hello"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_can_be_done(demo: Suite, page: Path, tmp_path: Path) -> None:
    admin = demo.ready["admin"]
    env = {
        **ENV,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "USP_URL": demo.ready["managers"][0]["url"],
        "USP_CA": admin["ca"],
        "USP_TOKEN": admin["token"],
        "USP_PASSWORD": admin["password"],
        "USP_CONFIG": str(next((demo.dir / "etc").glob("usp-manager*.hcl"))),
    }
    shell = ["bash", "-euxo", "pipefail", "-c", "\n".join(PAGES[page])]
    done = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_all_of_it_and_the_last_traces_are_sent(demo: Suite, collector: Collector) -> None:
    (closed,) = (entry for entry in demo.audit("file.closed") if entry["path"].endswith("quick-start"))
    demo.popen.send_signal(signal.SIGINT)
    assert demo.popen.wait(30) == 0
    told = [{each.key: each.value.string_value for each in span.attributes} for span in collector.spans()]
    mine = [attributes for attributes in told if attributes["usp.session"] == closed["session"]]
    assert [attributes.get("file.path") for attributes in mine if "file.path" in attributes] == [closed["path"]]
    assert any(attributes.get("usp.outcome") == "completed" for attributes in mine)
