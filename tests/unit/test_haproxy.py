"""The form of the reference documentation, and that HAProxy itself takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from usp.haproxy import Server, Service, render

ROOT = Path(__file__).resolve().parents[2]
TWO = (Server("usp-server-1", "192.0.2.11", 2222), Server("usp-server-2", "2001:db8::12", 2222))
REFERENCE = Service("sftp", "0.0.0.0", 2222, (TWO[0], Server("usp-server-2", "192.0.2.12", 2222)))
ALL = (
    REFERENCE,
    Service("behind-proxy", "::", 2223, TWO, proxy=True),
    Service(
        "tcp", "127.0.0.1", 2224, (Server("usp-server-1", "192.0.2.11", 2224, 2300, listener="tcp-1"),), banner=False
    ),
)


def directives(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def valid(path: Path) -> None:
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not Path(haproxy).exists():
        pytest.skip("haproxy is not installed")
    done = subprocess.run([haproxy, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_the_sample_is_what_is_generated() -> None:
    sample = (ROOT / "etc" / "haproxy.cfg").read_text()
    assert directives(sample) == directives(render([REFERENCE]))
    for line in ("balance leastconn", "stick-table type ip size 100k expire 4h", "stick on src", "option tcp-check"):
        assert line in directives(sample)
    assert "tcp-check expect string SSH-2.0" in directives(sample)
    assert "default-server check inter 10s fall 3 rise 2" in directives(sample)


def test_proxy_protocol_agents_and_ipv6() -> None:
    lines = directives(render(ALL))
    assert "default-server check inter 10s fall 3 rise 2 send-proxy-v2 check-send-proxy" in lines
    assert "server usp-server-2 [2001:db8::12]:2222" in lines
    assert (
        "server usp-server-1 192.0.2.11:2224 weight 100 agent-check agent-port 2300 "
        'agent-inter 2s agent-send "tcp-1\\n"' in lines
    )
    assert lines.count("tcp-check expect string SSH-2.0") == 2, "what is no SFTP is not asked for a banner"


@pytest.mark.parametrize("stats", ["", "/tmp/haproxy.sock"])
def test_haproxy_takes_it(tmp_path: Path, stats: str) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(render(ALL, stats=stats))
    assert ("stats socket /tmp/haproxy.sock mode 600 level admin" in directives(file.read_text())) is bool(stats)
    valid(file)
    valid(ROOT / "etc" / "haproxy.cfg")


def test_a_name_is_never_more_than_a_word() -> None:
    with pytest.raises(AssertionError):
        render([Service("two words", "::", 1, TWO)])
