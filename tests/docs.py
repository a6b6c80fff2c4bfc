"""Makes what is written from the code: `python -m tests.docs` (make docs) writes it, `--check` only tells.

* docs/cli.md: every command of `usp`, as its --help says it
* docs/errors.md: every code
* docs/metrics.md: every metric
* docs/settings.md, docs/items.md: every argument of the configuration files, every field of items (tests.reference)
* tests/unit/manager/api/operations.txt: the operations of the REST API, which stay once they were published
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import click

from tests.reference import items_page, settings_page
from usp.cli.main import main as usp
from usp.errors import CODES
from usp.manager.api import application
from usp.manager.api.errors import STATUS
from usp.manager.app import App
from usp.metrics import DECLARED

CLI_HEAD = """\
# The command line: usp

<!-- Made by `make docs` from usp/cli. -->

`usp` administers a gateway over the REST API of one of its managers, and needs nothing else: it runs on any machine.
It finds its manager by `USP_URL` (or `--url`), trusts the CA in `USP_CA` (or `--ca`; without it what this machine
trusts), and is somebody by `USP_TOKEN` (or `--token-file`). Of several managers, with commas between them
(`USP_URL=https://m1.example:8443,https://m2.example:8443`), it asks the first that it reaches.

Tables are for people. `--json` prints one JSON document, as the API answers it (lists whole, however many pages they
have), also when the command fails: then it has `code`, `detail` and `errors`. What is wrong goes to the standard error.
Exit codes: 0 fine, 1 refused, failed, or no answer, 2 wrong usage.

Tab completes commands, kinds and names, once the shell is told: `usp completion --help`.
"""


def cli() -> str:
    context = click.Context(usp, info_name="usp", terminal_width=100, max_content_width=100, **usp.context_settings)
    parts = [CLI_HEAD, _block(usp.get_help(context))]
    for name, command in sorted(usp.commands.items()):
        parts.extend(_command(command, context, f"usp {name}", name))
    return "\n".join(parts)


def _command(command: click.Command, parent: click.Context, title: str, name: str) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name, terminal_width=100, max_content_width=100)
    yield f"## {title}\n"
    yield _block(command.get_help(context))
    if isinstance(command, click.Group):
        for below, each in sorted(command.commands.items()):
            yield from _command(each, context, f"{title} {below}", below)


def _block(text: str) -> str:
    return "```text\n" + "\n".join(line.rstrip() for line in text.splitlines()) + "\n```\n"


ERRORS_HEAD = """\
# Errors

<!-- Made by `make docs` from usp/codes.py. -->

Every failure has one of these codes: in the problem documents of the REST API (`code`), in what `usp` says, in the logs
(`code=`). The status is the one of the REST API. `usp error CODE` tells the same.

| code | status | meaning | usual cause | what to do |
|---|---|---|---|---|
"""


def errors() -> str:
    rows = [
        f"| `{name}` | {STATUS[code.kind].value} | {code.meaning} | {_linked(code.cause)} | {_linked(code.remedy)} |\n"
        for name, code in CODES.items()
    ]
    return ERRORS_HEAD + "".join(rows)


def _linked(text: str) -> str:
    """Pages that are named become links."""
    return re.sub(r"\b([\w-]+)\.md\b", r"[\1](\1.md)", text)


def operations() -> str:
    document = application(cast(App, None)).openapi()
    lines = {
        f"{method.upper()} {path} {operation['operationId']}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    return "".join(f"{line}\n" for line in sorted(lines))


METRICS_HEAD = """\
# Metrics

<!-- Made by `make docs` from usp/metrics.py. -->

Every daemon answers `GET /metrics` in Prometheus's text format on the address of its `metrics` block (off by
default; loopback unless said otherwise, because there is no login). `/livez` answers as long as the process does;
`/readyz` with 503 and the reason while it does not do its work. The numbers of usp-server are those of all its workers
together; counters and histograms outlive a worker. Nothing is measured packet by packet.

`etc/prometheus/` has a sample configuration and alert rules, `etc/grafana/usp.json` a dashboard; both expect the label
`daemon` on each target, as in the sample. `make test` scrapes a running suite with a real Prometheus, checks the rules
with promtool, and asks every query of the dashboard.

Labels have few values each: names of items, outcomes, reasons. None is what a stranger sent.

| metric | type | labels | of | meaning |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    rows = []
    for of, metric in DECLARED:
        (family,) = metric.collect()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append(f"| `{name}` | {family.type} | {labels} | {of} | {family.documentation} |\n")
    return METRICS_HEAD + "".join(rows)


PAGES: Mapping[str, Callable[[], str]] = {
    "docs/cli.md": cli,
    "docs/errors.md": errors,
    "docs/metrics.md": metrics_page,
    "docs/settings.md": settings_page,
    "docs/items.md": items_page,
    "tests/unit/manager/api/operations.txt": operations,
}


def stale() -> dict[str, str]:
    """Page -> what it should say, of those that say something else."""
    made = {path: make() for path, make in PAGES.items()}
    return {path: text for path, text in made.items() if not Path(path).exists() or Path(path).read_text() != text}


def main() -> int:
    check = "--check" in sys.argv
    found = stale()
    for path, text in found.items():
        if not check:
            Path(path).write_text(text)
        print(f"{path}: {'out of date: run `make docs`' if check else 'written'}")
    return 1 if found and check else 0


if __name__ == "__main__":
    sys.exit(main())
