# SPDX-License-Identifier: Apache-2.0
"""The generated part of docs/reference/benchmarks.md, made from the JSON beside it alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loading import plot
from loading.handover_contenders import path_name
from loading.lake_contenders import DELTA, RAW_PARQUET
from loading.postgres_contenders import COPY, OURS

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
KINDS = {"narrow": "flat records of 226 bytes", "nested": "nested records of 2.5 KB"}
_FEW = 100_000
Line = dict[str, Any]
Column = tuple[str, Callable[[Line], str]]


@dataclass(frozen=True)
class Part:
    """How a section is shown: whom lines are compared with, and what bytes are."""

    title: str
    words: str
    ours: str
    limit: str
    bytes_are: str
    pictures: bool = False


PARTS = {
    "postgres": Part(
        "Into Postgres",
        "The Singer file is read from disk by each target; Sling and dlt get the bare records, "
        "a fifth fewer bytes.",
        OURS,
        COPY,
        "log bytes a row",
        pictures=True,
    ),
    "lake": Part(
        "Into Parquet and Delta",
        "On a local disk. Rows are counted with delta-rs and pyarrow.",
        DELTA,
        RAW_PARQUET,
        "file bytes a row",
        pictures=True,
    ),
    "pipe": Part(
        "From tap to Bronze",
        "A tap that decodes JSON lines into dicts and writes Singer messages, joined to the target "
        "by a kernel pipe. Its own line goes to /dev/null.",
        OURS,
        "",
        "log bytes a row",
    ),
    "batch": Part(
        "Files instead of lines",
        "The same records from tap to target, as RECORD lines and as BATCH messages of files that "
        "the source has exported.",
        path_name(OURS, "lines"),
        "",
        "bytes a row",
    ),
    "emit": Part(
        "What a tap emits",
        "Records from a list in memory to /dev/null by `benchmarks/tap_emit.py`; the start of the "
        "process is not counted.",
        "ipai_kit, local iterator",
        "",
        "",
    ),
    "large": Part(
        "Ten times the rows",
        "What a row costs, and how much memory is held, when there are many more. Ratios are to "
        "the smaller load.",
        OURS,
        COPY,
        "log bytes a row",
    ),
}


def render(figures: dict[str, Any]) -> str:
    """All that stands between the markers."""
    parts: list[str] = []
    for name, part in PARTS.items():
        if name in figures:
            parts += _part(name, part, figures[name])
    return "\n\n".join([BEGIN, *parts, END])


def replace_figures(page: str, figures: dict[str, Any]) -> str:
    """The page with new figures between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + render(figures) + after


def write(folder: Path, figures: dict[str, Any]) -> None:
    """The page and its pictures."""
    page = folder / "benchmarks.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# Benchmarks\n\n{BEGIN}{END}\n"
    page.write_text(replace_figures(text, figures), encoding="utf-8")
    for name, part in PARTS.items():
        if part.pictures and name in figures:
            picture = plot.draw(part.title, figures[name]["lines"], KINDS)
            (folder / f"benchmarks-{name}.svg").write_text(picture, encoding="utf-8")


def _part(name: str, part: Part, section: dict[str, Any]) -> Iterator[str]:
    yield f"## {part.title}"
    yield f"{part.words} Measured {section['made_at']} by `{section['command']}`."
    if part.bytes_are and max(line["rows"] for line in section["lines"]) < _FEW:
        yield "So few rows measure start-up more than loading; the goals are for larger loads."
    if part.pictures:
        yield f"![Rows per CPU second: {part.title}](benchmarks-{name}.svg)"
    if section["goals"]:
        yield _goals(section["goals"])
    kinds = list(dict.fromkeys(line["kind"] for line in section["lines"]))
    for kind in kinds:
        lines = [line for line in section["lines"] if line["kind"] == kind]
        yield from _tables(part, kind, lines)
    yield _about(section)


def _tables(part: Part, kind: str, lines: list[Line]) -> Iterator[str]:
    replays = [line for line in lines if line["step"] == "replay"]
    others = [line for line in lines if line["step"] != "replay"]
    yield f"### {_sizes(others)} {KINDS[kind]}"
    yield _table(part, others, lines)
    if replays:
        yield f"### The same again: {_sizes(replays)} {KINDS[kind]}"
        yield _table(part, replays, lines)


def _sizes(lines: Iterable[Line]) -> str:
    return " and ".join(f"{rows:,}" for rows in sorted({line["rows"] for line in lines}))


def _table(part: Part, lines: list[Line], everybody: list[Line]) -> str:
    """The fastest first; ratios are of CPU time a row, within this run."""
    several = len({line["rows"] for line in lines}) > 1
    columns = _columns(part, lines, everybody)
    head = "| " + " | ".join(["", *(title for title, _ in columns)]) + " |"
    rows = [head, "|---" + "|--:" * len(columns) + "|"]
    for line in sorted(lines, key=lambda one: -one["rows_per_cpu_second"]):
        cells = [value(line) for _, value in columns]
        if line["problem"]:
            cells = [f"**failed**: {_cell(line['problem'])}", *([""] * (len(columns) - 1))]
        rows.append("| " + " | ".join([_name(line, several=several), *cells]) + " |")
    return "\n".join(rows)


def _columns(part: Part, lines: list[Line], everybody: list[Line]) -> list[Column]:
    steps = {line["step"] for line in lines}
    step = "first load" if "first load" in steps else lines[0]["step"]
    ours = _cpu_per_row(everybody, part.ours, step)
    limit = _cpu_per_row(everybody, part.limit, "first load")
    columns: list[Column] = [
        ("rows per CPU second", lambda line: f"{line['rows_per_cpu_second']:,}"),
        ("CPU, ours = 1", lambda line: _ratio(line, ours)),
        ("CPU, limit = 1", lambda line: _ratio(line, limit)),
        ("CPU s of client", lambda line: f"{line['client_cpu']:.2f}"),
        ("of server", lambda line: f"{line['server_cpu']:.2f}"),
        ("wall s", lambda line: f"{line['wall']:.1f}"),
        ("peak MB", lambda line: f"{line['peak_mb']:.0f}"),
        (part.bytes_are, lambda line: f"{line['bytes_per_row']:,.0f}"),
        ("dead rows", lambda line: f"{line['dead_rows']:,}"),
        ("runs", lambda line: str(line["runs"])),
    ]
    unused = set() if part.limit else {"CPU, limit = 1"}
    if not part.bytes_are:  # emission: only processor time was measured
        unused |= {"wall s", "peak MB", ""}
    if not any(line["server_cpu"] for line in lines):
        unused |= {"of server", "dead rows"}
    return [column for column in columns if column[0] not in unused]


def _name(line: Line, *, several: bool) -> str:
    name: str = line["name"]
    if line["step"] == "append":
        name = f"{name}, {line['step']}"
    if several:
        name = f"{name}, {line['rows']:,} rows"
    shown = _cell(name)
    return {"ours": f"**{shown}**", "limit": f"*{shown}* (limit)"}.get(line["family"], shown)


def _cpu(line: Line) -> float:
    return float((line["client_cpu"] + line["server_cpu"]) / line["rows"])


def _cpu_per_row(lines: list[Line], name: str, step: str) -> float | None:
    for line in lines:
        if (line["name"], line["step"]) == (name, step) and not line["problem"]:
            return _cpu(line)
    return None


def _ratio(line: Line, base: float | None) -> str:
    return f"{_cpu(line) / base:.2f}" if base else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _goals(goals: list[dict[str, Any]]) -> str:
    rows = ["| goal | wanted | reached | |", "|---|--:|--:|---|"]
    for one in goals:
        reached = "not measured" if one["reached"] is None else _number(one["reached"])
        verdict = "" if one["reached"] is None else "met" if one["met"] else "**missed**"
        wanted = f"{one['side']} {one['bound']:,} {one['unit']}"
        rows.append(f"| {_cell(one['goal'])} | {wanted} | {reached} | {verdict} |")
    return "\n".join(rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:.2f}"


def _about(section: dict[str, Any]) -> str:
    server = f" {section['server']}." if "server" in section else ""
    runs = (
        f"Median of {section['turns']} runs, of one where it took over {section['slow']:.0f} CPU s."
    )
    versions = "; ".join(section["versions"])
    return f"Machine: {section['machine']}.{server} {runs} Versions: {versions}."
