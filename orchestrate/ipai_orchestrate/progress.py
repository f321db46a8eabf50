# SPDX-License-Identifier: Apache-2.0
"""Shows a run while it happens: a live table on a terminal, JSON lines for machines."""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self, TextIO, cast
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.observer import Nobody
from ipai_orchestrate.pipeline.tally import StreamTally, Tally

RATE_WINDOW_SECONDS = 5.0
QUIET_SECONDS = 1.0
LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red"}
UNKNOWN = "–"  # noqa: RUF001 - a dash for what is not known, as in any printed table

_STEP = re.compile(r"\d+ of \d+")

Clock = Callable[[], float]


class Rates:
    """Records per second of each stream over the last few seconds."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def add(self, stream: StreamTally) -> None:
        """Note how far a stream is now."""
        seen = self._seen.setdefault(stream.stream, deque())
        seen.append((self._clock(), max(stream.read, stream.received)))

    def rate(self, stream: str) -> float:
        """How fast a stream has been of late; zero when it has come to rest."""
        seen = self._seen.get(stream)
        if not seen:
            return 0.0
        now = self._clock()
        while len(seen) > 1 and now - seen[0][0] > RATE_WINDOW_SECONDS:
            seen.popleft()
        (began, first), last = seen[0], seen[-1][1]
        return (last - first) / max(now - began, QUIET_SECONDS) if last > first else 0.0


def seconds_left(streams: Iterable[StreamTally], elapsed: float) -> float | None:
    """Time to the end, where the taps know how many parts there are; None where they do not."""
    counted = [one for one in streams if one.partitions_total]
    total = sum(one.partitions_total or 0 for one in counted)
    done = sum(min(one.partitions_done, one.partitions_total or 0) for one in counted)
    return elapsed / done * (total - done) if done else None


def duration(seconds: float) -> str:
    """Seconds as people write them, e.g. 1:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def quota_left(streams: Iterable[StreamTally]) -> int | None:
    """The smallest quota that any stream reports."""
    known = [one.quota_remaining for one in streams if one.quota_remaining is not None]
    return min(known) if known else None


def stream_table(
    streams: Sequence[StreamTally], rates: Rates | None = None, *, title: str | None = None
) -> Table:
    """One row per stream; speed only while the run goes on."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("Stream", no_wrap=True)
    columns = ["Read", *(["Rows/s"] if rates else []), "New", "Changed", "Same", "Requests"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for one in streams:
        speed = [_number(rates.rate(one.stream))] if rates else []
        figures = [one.inserted, one.updated, one.unchanged, one.requests]
        read = _number(max(one.read, one.received))
        table.add_row(one.stream, read, *speed, *map(_number, figures))
    return table


def stream_notes(streams: Iterable[StreamTally]) -> list[str]:
    """What the figures do not say: parts left out, records that could not be stored, rows gone."""
    return [f"{one.stream}: {note}" for one in streams for note in _notes(one)]


def _left_out(line: LogLine) -> str:
    """Why a part was left out, and which: a stream has many."""
    path = urlsplit(str(line.fields.get("url") or "")).path
    return f"left out: {line.fields.get('reason')}" + (f" ({path})" if path else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 0.5 else UNKNOWN


def _notes(one: StreamTally) -> Iterator[str]:
    if one.skips:
        parts = "one part" if one.skips == 1 else f"{one.skips:,} parts"
        yield f"{parts} left out. {one.skipped_reason}"
    if one.dead:
        yield f"{one.dead:,} records could not be stored and are in the dead letters."
    if one.retired:
        yield f"{one.retired:,} rows are gone at the source and marked as deleted."


class LiveProgress(Nobody):
    """A table that changes in place; warnings and errors scroll by above it."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._rates = Rates()
        self._tally = Tally()
        self._active: dict[str, float] = {}
        self._title, self._step = "Starting", ""
        self._started = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, transient=True)

    def __enter__(self) -> Self:
        """Start to show."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Clear the table: what came of the run is shown by others."""
        self._live.stop()

    def started(self, run_id: str, instance_id: str, mode: str) -> None:
        """Name the run."""
        self._title = f"Syncing {instance_id} ({mode.replace('_', ' ')}), run {run_id[:8]}"

    def transforming(self, streams: int) -> None:
        """Say that dbt is at work."""
        self._title = f"Building Silver and Gold from {streams} stream{'s'[: streams != 1]}"

    def said(self, line: LogLine) -> None:
        """Show what needs attention, or everything when asked to."""
        if line.source == "runner" and not self._verbose:
            return  # it is told again, with the next step, when the run has ended
        if line.source == "dbt" and (found := _STEP.match(line.message)):
            self._step = f", {found[0]}"
        if line.message == "stream_skipped":
            line = replace(line, message=_left_out(line), level="warning")
        if line.level in LEVEL_STYLES or (self._verbose and line.level == "info"):
            where = f"{line.source}/{line.stream}" if line.stream else line.source
            text = Text.assemble(
                (f"{where}: ", "dim"), (line.message, LEVEL_STYLES.get(line.level, ""))
            )
            self._console.print(text)

    def counted(self, tally: Tally) -> None:
        """Take the newest figures."""
        self._tally = tally
        now = time.monotonic()
        for stream in list(tally.streams.values()):
            self._rates.add(stream)
            self._active[stream.stream] = now

    def _render(self) -> RenderableType:
        streams = list(self._tally.streams.values())
        room = max(self._console.size.height - 6, 3)
        shown = sorted(streams, key=lambda one: -self._rates.rate(one.stream))[:room]
        parts: list[RenderableType] = [Spinner("dots", Text(self._headline(streams)))]
        if shown:
            in_order = [one for one in streams if one in shown]
            parts.append(stream_table(in_order, self._rates))
        if len(streams) > len(shown):
            parts.append(Text(f"and {len(streams) - len(shown)} more streams", "dim"))
        return Group(*parts)

    def _headline(self, streams: Sequence[StreamTally]) -> str:
        elapsed = time.monotonic() - self._started
        facts = [
            self._title + self._step,
            duration(elapsed),
            f"{self._tally.rows:,} rows in Bronze",
        ]
        if requests := sum(one.requests for one in streams):
            facts.append(f"{requests:,} requests")
        if (quota := quota_left(streams)) is not None:
            facts.append(f"quota left {quota:,}")
        left = seconds_left(streams, elapsed)
        if left is not None and left >= 1:
            facts.append(f"about {duration(left)} to go")
        return " · ".join(facts)


class JsonProgress(Nobody):
    """One JSON line per log line, and one per stream at most every second."""

    def __init__(
        self, stream: TextIO, clock: Clock = time.monotonic, *, verbose: bool = False
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._written: dict[str, tuple[float, StreamTally]] = {}
        self._run: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to clear."""

    def started(self, run_id: str, instance_id: str, mode: str) -> None:
        """Name the run, here and in every line from now on."""
        self._run = {"run_id": run_id, "instance_id": instance_id}
        self._write("run_started", mode=mode)

    def transforming(self, streams: int) -> None:
        """Say that dbt is at work."""
        self._write("transform_started", streams=streams)

    def said(self, line: LogLine) -> None:
        """Pass on a log line."""
        if line.level == "debug" and not self._verbose:
            return
        about = {"stream": line.stream} if line.stream else {}
        fields = {**line.fields, **about, "level": line.level, "source": line.source}
        self._write(line.message, at=line.at.isoformat(), **fields)

    def counted(self, tally: Tally) -> None:
        """Pass on the figures that have changed."""
        now = self._clock()
        for stream in tally.streams.values():
            last, figures = self._written.get(stream.stream, (now - QUIET_SECONDS, None))
            if stream != figures and now - last >= QUIET_SECONDS:
                self._written[stream.stream] = (now, stream)
                self._write("progress", **asdict(stream))

    def _write(self, event: str, /, **fields: Any) -> None:
        # A log line of a connector may bring a field of any name, `event` too.
        line = {"level": "info", **fields, **self._run, "event": event}
        self._stream.write(json.dumps(line, default=str) + "\n")
        self._stream.flush()


def progress_for(
    console: Console, *, log_format: str = "auto", verbose: bool = False
) -> LiveProgress | JsonProgress:
    """The live table where somebody looks at a terminal, JSON lines elsewhere or when asked."""
    if log_format == "json" or (log_format == "auto" and not console.is_terminal):
        return JsonProgress(cast("TextIO", console.file), verbose=verbose)
    return LiveProgress(console, verbose=verbose)
