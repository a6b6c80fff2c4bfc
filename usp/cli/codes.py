"""`usp error CODE`: what a code means, what it comes from, and what to do. It asks nobody."""

from __future__ import annotations

import click

from usp.errors import CODES


@click.command()
@click.argument("code", type=click.Choice(list(CODES)), metavar="CODE")
def error(code: str) -> None:
    """What an error's CODE means, what it usually comes from, and what to do about it."""
    known = CODES[code]
    for word, text in (("means", known.meaning), ("cause", known.cause), ("remedy", known.remedy)):
        click.echo(f"{word + ':':8}{text}")
