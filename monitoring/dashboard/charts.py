"""Small SVG charts, drawn here so that pages need no script, no library and no inline style. Pure: numbers in, markup out.

Colours and sizes come from the style sheet by class; a chart stretches to its box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

WIDTH, HEIGHT = 240, 60
_TOP = 3  # room for half the line's width at the highest value
_MARK = 2.5  # the least height at which a share of errors is still seen


def line(values: Sequence[float | None], label: str, shares: Sequence[float | None] = ()) -> SafeString:
    """A line over time from 0 to its highest value, with gaps where a value is None.

    `shares` (0 to 1, of errors) stand before it as bars from the bottom; `label` says in words what is drawn.
    """
    top = max((value for value in values if value is not None), default=0.0)
    # Only numbers that were formatted here go into the markup.
    body = mark_safe("".join((*_line(values, top), *_bars(shares))))  # noqa: S308
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        WIDTH,
        HEIGHT,
        label,
        body,
    )


def share_bar(counts: Mapping[str, int], label: str) -> SafeString:
    """One bar divided in proportion; each part has its key as class. A part too small to be seen is drawn a little wider."""
    total = sum(counts.values())
    parts, left = [], 0.0
    for key, count in counts.items():
        if total and count:
            width = max(2.0, 100.0 * count / total)
            parts.append(format_html('<rect class="{}" x="{}" width="{}" height="8"/>', key, f"{left:.2f}", f"{width:.2f}"))
            left += width
    return format_html(
        '<svg class="shares" viewBox="0 0 {} 8" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        f"{left or 100:.2f}",
        label,
        mark_safe("".join(parts)),  # noqa: S308 (escaped above)
    )


def bar(left: float, width: float) -> SafeString:
    """A bar from `left` on, both in percent of the room. It is beside its number, so it has no words of its own."""
    return format_html(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect x="{}" width="{}" height="8"/></svg>',
        f"{left:.2f}",
        f"{width:.2f}",
    )


def _line(values: Sequence[float | None], top: float) -> list[str]:
    width = WIDTH / max(1, len(values))
    shapes: list[str] = []
    run: list[tuple[float, float]] = []
    for index, value in enumerate((*values, None)):
        if value is not None:
            height = (HEIGHT - _TOP - 1) * value / top if top > 0 else 0.0
            run.append(((index + 0.5) * width, HEIGHT - 1 - height))
        elif run:
            if len(run) == 1:  # one point alone would be invisible
                (x, y) = run[0]
                run = [(x - width / 2, y), (x + width / 2, y)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            shapes.append(f'<polygon class="area" points="{run[0][0]:.1f},{HEIGHT} {points} {run[-1][0]:.1f},{HEIGHT}"/>')
            shapes.append(f'<polyline class="line" points="{points}"/>')
            run = []
    return shapes


def _bars(shares: Sequence[float | None]) -> list[str]:
    width = WIDTH / max(1, len(shares))
    bars = []
    for index, share in enumerate(shares):
        if share:
            height = max(_MARK, HEIGHT * min(1.0, share))
            x, y = index * width + width * 0.15, HEIGHT - height
            bars.append(f'<rect class="errors" x="{x:.1f}" y="{y:.1f}" width="{width * 0.7:.1f}" height="{height:.1f}"/>')
    return bars
