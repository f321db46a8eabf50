# SPDX-License-Identifier: Apache-2.0
"""How commands answer: tables for people, JSON for machines."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

STATUS_STYLES = {
    "succeeded": "green",
    "active": "green",
    "failed": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "running": "cyan",
}

PIPE_WIDTH = 160
_GAP = 2  # between two columns
_SENTENCES = 0.45  # the part of a narrow line that sentences may ask for

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for machines.")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def limit_option(most: int, what: str = "How many.") -> Decorator:
    """The option that says how much of a list is wanted: at least one."""
    kind = click.IntRange(min=1)
    return click.option("--limit", type=kind, default=most, show_default=True, help=what)


def console() -> Console:
    """Where answers go; a file or a pipe has no edge to wrap at."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def error_console() -> Console:
    """Where progress and explanations go."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Write one value as JSON; records as objects, a list of them as a list."""
    click.echo(json.dumps(_plain(value), indent=2, default=str, ensure_ascii=False))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    empty: str,
    spare: Sequence[str] = (),
) -> None:
    """Write a table, or say in words that there is nothing in it.

    On a narrow terminal columns of `spare` are left out, the first first, until the last column,
    which holds sentences, has room.
    """
    out = console()
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        out.print(empty)
        return
    shown = _fitting(columns, cells, spare, out.width) if out.width < PIPE_WIDTH else columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*[text for name, text in zip(columns, row, strict=True) if name in shown])
    out.print(table)


def _fitting(
    columns: Sequence[str], cells: Sequence[Sequence[str]], spare: Sequence[str], width: int
) -> list[str]:
    """The columns beside which the last one has what it needs, or a good part of the width."""
    needed = {
        name: max(cell_len(name), *(Text.from_markup(text).cell_len for text in texts))
        for name, *texts in zip(columns, *cells, strict=True)
    }
    *others, last = columns
    room = min(needed[last], int(width * _SENTENCES))
    for name in spare:
        if sum(needed[one] + _GAP for one in others) + room <= width:
            break
        others.remove(name)
    return [*others, last]


def answer(value: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Give the value to a machine or show it to a person."""
    if as_json:
        print_json(value)
    else:
        show()


def say_done(as_json: bool, told: str, **facts: Any) -> None:
    """Say what a command has changed: in words, or to a machine as one object."""
    answer(facts, as_json, lambda: click.echo(told))


def ago(moment: datetime | None) -> str:
    """A past moment as people say it."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _cell(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    style = STATUS_STYLES.get(str(value))
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"[{style}]{text}[/]" if style else text.replace("[", r"\[")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
