# SPDX-License-Identifier: Apache-2.0
"""The one command: which sections to run, how large, and where the figures go."""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from loading import page
from loading.environments import Environments, cache_home
from loading.race import Rules
from loading.sections import SECTIONS, Plan

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"
_ORDINARY = ("postgres", "lake", "pipe", "batch", "emit")


def main(arguments: list[str] | None = None) -> None:
    """Run sections; their figures replace those of the same sections in the report."""
    options = _options(arguments)
    for stop in (signal.SIGINT, signal.SIGTERM):  # both leave no server and no contender behind
        signal.signal(stop, _stopped)
    folder = options.out or (cache_home() / "quick" if options.quick else DOCS)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "benchmarks.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if not options.render:
        plan = _plan(options)
        for name in _chosen(options):
            print(f"== {name}", file=sys.stderr)
            figures[name] = SECTIONS[name](plan).as_json()
            kept.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    page.write(folder, figures)
    print(page.render({name: figures[name] for name in _chosen(options) if name in figures}))
    print(f"The report is in {folder}.", file=sys.stderr)


def _stopped(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _chosen(options: argparse.Namespace) -> list[str]:
    ordinary = [*_ORDINARY, *(["large"] if options.large else [])]
    return [name for name in SECTIONS if name in (options.only or ordinary)]


def _plan(options: argparse.Namespace) -> Plan:
    home: Path = options.peers or cache_home()
    small = options.quick
    return Plan(
        rows=_or(options.rows, 20_000 if small else 200_000),
        nested_rows=_or(options.nested_rows, 5_000 if small else 50_000),
        pipe_rows=options.pipe_rows or (100_000 if small else 1_000_000),
        batch_rows=options.batch_rows or options.pipe_rows or (100_000 if small else 1_000_000),
        large_rows=options.large_rows or (1_000_000 if small else 10_000_000),
        rules=Rules(
            turns=options.turns or (1 if small else 3),
            slow=options.slow,
            warm_up=not options.cold,
            patience=options.patience,
        ),
        home=home,
        environments=Environments(home / "peers", options.installed_here),
        with_peers=not options.without_peers,
        who=tuple(options.who or ("",)),
    )


def _or(chosen: int | None, ordinary: int) -> int:
    """Zero is a choice: none of these."""
    return ordinary if chosen is None else chosen


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/bench.py", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a tenth of the rows, once; the docs stay as they are")
    add("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    add("--large", action="store_true", help="also ten million rows")
    add("--without-peers", action="store_true", help="only ours and the limit")
    add("--who", nargs="+", metavar="WORD", help="only those whose name has one of these words")
    add("--rows", type=int, help="flat records of 226 bytes; 200,000")
    add("--nested-rows", type=int, help="records of 2.5 KB; 50,000")
    add("--pipe-rows", type=int, help="flat records through the pipe; 1,000,000")
    add("--batch-rows", type=int, help="flat records handed over; as many as through the pipe")
    add("--large-rows", type=int, help="flat records of the large run; 10,000,000")
    add("--turns", type=int, help="measured runs of each; 3")
    add("--slow", type=float, default=12.0, help="CPU seconds above which one run is enough; 12")
    add("--patience", type=float, default=600.0, help="seconds after which one is stopped; 600")
    add("--cold", action="store_true", help="without the turn that warms caches")
    add("--peers", type=Path, help="folder for peers and streams; $XDG_CACHE_HOME/ipai-bench")
    add("--installed-here", action="store_true", help="our targets as installed beside this Python")
    add("--out", type=Path, help="folder for the report; docs/reference")
    add("--render", action="store_true", help="only write the page anew from its JSON")
    return parser.parse_args(arguments)
