"""Shell completion: the script for a shell, and what it offers. Names come from the manager, if it answers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from usp.cli.client import Client, segment
from usp.errors import UspError

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_USP_COMPLETE"
PATIENCE: Final = 2.0
"""Seconds to wait for the manager: somebody has pressed Tab."""
MOST: Final = 100

KIND_OF: Final[Mapping[str, str]] = {
    "server": "proxy-servers",
    "servers": "proxy-servers",
    "listener": "listeners",
    "deployment": "deployments",
    "outbound_node": "outbound-nodes",
    "proxy_client": "proxy-clients",
    "ip_filter": "ip-filters",
}
"""A parameter of any command -> the kind of item that it names."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a SHELL.

    \b
    bash: eval "$(usp completion bash)"                             in ~/.bashrc
    zsh:  eval "$(usp completion zsh)"                              in ~/.zshrc, after compinit
    fish: usp completion fish > ~/.config/fish/completions/usp.fish
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(click.Command("usp"), {}, "usp", VARIABLE).source())


Connect = Callable[..., Client]
Offer = Callable[[click.Context, str], list[CompletionItem]]


def complete(command: click.Command, connect: Connect) -> click.Command:
    """Let Tab offer kinds and names for the parameters of a command. `connect` takes the flags of `usp`."""
    by_kind = any(parameter.name == "kind" for parameter in command.params)
    for parameter in command.params:
        offer = _offer(parameter.name or "", by_kind, connect)
        if offer is not None:
            parameter.shell_complete = offer  # type: ignore[method-assign, assignment]
    return command


def _offer(name: str, by_kind: bool, connect: Connect) -> Offer | None:
    if name == "kind":
        return kinds
    if name == "name" and by_kind:
        return partial(names, connect, None)
    return partial(names, connect, KIND_OF[name]) if name in KIND_OF else None


def kinds(context: click.Context, incomplete: str) -> list[CompletionItem]:
    from usp.model import KINDS

    return [CompletionItem(kind, help=model.title) for kind, model in KINDS.items() if kind.startswith(incomplete)]


def names(connect: Connect, kind: str | None, context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Those of the manager's items (`kind` None: of the kind before); none when it cannot be asked."""
    kind = kind or str(context.params.get("kind"))
    flags = context.find_root().params
    try:
        client = connect(flags.get("url"), flags.get("token_file"), flags.get("ca"), PATIENCE)
        answer = client.get(f"/items/{segment(kind)}", name=f"{incomplete}*", limit=MOST)
    except (UspError, click.UsageError):
        return []
    return [CompletionItem(item["name"], help=item.get("description") or None) for item in answer["items"]]
