"""Lines over time as SVG: one chart for each measure, one line for each daemon."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 170, 60, 24, 46
COLOURS: Final = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#9c755f", "#edc948", "#ff9da7")

Series = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]


def svg(series: Series, seconds: float) -> str:
    return "\n".join(_document(series, seconds)) + "\n"


def _document(series: Series, seconds: float) -> Iterator[str]:
    daemons = sorted({daemon for of in series.values() for daemon in of})
    colours = {daemon: COLOURS[number % len(COLOURS)] for number, daemon in enumerate(daemons)}
    legend = 20 * ((len(daemons) + 2) // 3) + 10
    height = len(series) * (HEIGHT + GAP) + legend + TOP
    box = f'viewBox="0 0 {WIDTH + LEFT + 20} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">'
    yield f'<rect width="100%" height="{height}" fill="white"/>'
    for number, (measure, of) in enumerate(series.items()):
        yield from _chart(measure, of, colours, seconds, TOP + number * (HEIGHT + GAP))
    for number, daemon in enumerate(daemons):
        x, y = LEFT + number % 3 * 250, height - legend + number // 3 * 20
        yield f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colours[daemon]}"/>'
        yield f'<text x="{x + 18}" y="{y + 11}">{html.escape(daemon)}</text>'
    yield "</svg>"


def _chart(
    measure: str, of: Mapping[str, Sequence[tuple[float, float]]], colours: Mapping[str, str], seconds: float, top: int
) -> Iterator[str]:
    most = max((value for points in of.values() for _, value in points), default=1.0) * 1.05 or 1.0
    bottom = top + HEIGHT
    yield f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{html.escape(measure)}</text>'
    for part in range(5):
        y = bottom - HEIGHT * part / 4
        yield f'<line x1="{LEFT}" y1="{y:.0f}" x2="{LEFT + WIDTH}" y2="{y:.0f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{most * part / 4:.0f}</text>'
    for part in range(7):
        x = LEFT + WIDTH * part / 6
        yield f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{seconds / 60 * part / 6:.0f} min</text>'
    for daemon, points in of.items():
        step = max(1, len(points) // 360)
        path = " ".join(
            f"{LEFT + WIDTH * at / seconds:.1f},{bottom - HEIGHT * value / most:.1f}" for at, value in points[::step]
        )
        yield f'<polyline points="{path}" fill="none" stroke="{colours[daemon]}" stroke-width="1.3"/>'
