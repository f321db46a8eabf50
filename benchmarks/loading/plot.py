# SPDX-License-Identifier: Apache-2.0
"""Horizontal bars as SVG: rows per CPU second, one panel for each kind of record.

Beside each bar stand its share of the limit, its wall time and its peak memory.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Line = dict[str, Any]
_COLOURS = {
    "ours": ("#0b6e4f", "#7cc2a8"),
    "peer": ("#6b7a8f", "#bcc5d1"),
    "limit": ("#c98a1b", ""),
}
_WIDTH, _LEFT, _BAR, _GAP, _GROUP = 960, 310, 13, 2, 12
_SPAN = 360
_COLUMNS = {"of limit": 800, "wall s": 870, "peak MB": 944}
_HEAD, _PANEL_HEAD, _FOOT = 74, 34, 12


def draw(title: str, lines: list[Line], kinds: Mapping[str, str]) -> str:
    """The picture of a section."""
    panels = [
        (words, _groups([line for line in lines if line["kind"] == kind]))
        for kind, words in kinds.items()
        if any(line["kind"] == kind for line in lines)
    ]
    body: list[str] = []
    top = _HEAD
    for words, groups in panels:
        body += _panel(words, groups, top)
        top += _panel_height(groups)
    height = top + _FOOT
    return "\n".join([*_opening(title, height, lines), *body, "</svg>", ""])


def _groups(lines: list[Line]) -> list[list[Line]]:
    """The bars of each loader together, the fastest first load on top."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        name = f"{line['name']}, append" if line["step"] == "append" else line["name"]
        by_name.setdefault(name, []).append({**line, "name": name})
    return sorted(by_name.values(), key=lambda group: -group[0]["rows_per_cpu_second"])


def _panel_height(groups: list[list[Line]]) -> int:
    bars = sum(len(group) for group in groups)
    return _PANEL_HEAD + bars * (_BAR + _GAP) + len(groups) * _GROUP


def _opening(title: str, height: int, lines: list[Line]) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13" '
        f'role="img" aria-label="{escape(title)}: rows per CPU second">'
    )
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    yield _text(16, 28, f"{title}: rows per CPU second", size=18, weight="600")
    x = 16
    words = [
        ("ours", 0, "ours"),
        ("peer", 0, "peer"),
        ("limit", 0, "limit: the unavoidable"),
    ]
    if any(line["step"] == "replay" for line in lines):
        words.append(("peer", 1, "paler: the same records again"))
    for family, shade, text in words:
        yield f'<rect x="{x}" y="44" width="12" height="12" fill="{_COLOURS[family][shade]}"/>'
        yield _text(x + 18, 55, text, fill="#444")
        x += 40 + 7 * len(text)


def _panel(words: str, groups: list[list[Line]], top: int) -> Iterator[str]:
    rates = [line["rows_per_cpu_second"] for group in groups for line in group]
    limits = [group[0]["rows_per_cpu_second"] for group in groups if group[0]["family"] == "limit"]
    yield _text(16, top + 18, words[0].upper() + words[1:], weight="600")
    for title, x in _COLUMNS.items():
        yield _text(x, top + 18, title, anchor="end", size=12, fill="#444")
    y = top + _PANEL_HEAD
    for group in groups:
        middle = y + (len(group) * (_BAR + _GAP)) / 2 + 4
        weight = "600" if group[0]["family"] == "ours" else "400"
        yield _text(_LEFT - 10, middle, group[0]["name"], anchor="end", weight=weight)
        for line in group:
            yield from _bar(line, y, max(*rates, 1), max(limits, default=0))
            y += _BAR + _GAP
        y += _GROUP


def _bar(line: Line, y: int, most: int, limit: int) -> Iterator[str]:
    if line["problem"]:
        yield _text(_LEFT, y + 11, "failed", fill="#b3261e", size=12)
        return
    value = line["rows_per_cpu_second"]
    long = max(1.0, _SPAN * value / most)
    colour = _COLOURS[line["family"]][line["step"] == "replay"]
    yield f'<rect x="{_LEFT}" y="{y}" width="{long:.1f}" height="{_BAR}" fill="{colour}"/>'
    yield _text(_LEFT + long + 6, y + 11, f"{value:,}", size=12, fill="#222")
    share = f"{value / limit:.2f}" if limit else ""
    for text, x in zip(
        (share, f"{line['wall']:.1f}", f"{line['peak_mb']:.0f}"), _COLUMNS.values(), strict=True
    ):
        yield _text(x, y + 11, text, anchor="end", size=12, fill="#444")


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    weight: str = "400",
    anchor: str = "start",
    fill: str = "#111",
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'
    )
