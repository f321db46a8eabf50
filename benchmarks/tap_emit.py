#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How many small records a tap writes per CPU second: singer-sdk as it comes, and ours.

Every variant is a process of its own that reads the same records from a list in memory and writes
Singer messages to /dev/null. CPU seconds (user and system) are those of the emission alone; the
start of the process and the making of the records are not counted.

    python benchmarks/tap_emit.py [--records 500000] [--repeat 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india")
TIMESTAMP = {"type": ["string", "null"], "format": "date-time"}
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "uuid": {"type": ["string", "null"]},
        "name": {"type": ["string", "null"]},
        "amount": {"type": ["number", "null"]},
        "flag": {"type": ["boolean", "null"]},
        "created_at": TIMESTAMP,
        "updated_at": TIMESTAMP,
        "note": {"type": ["string", "null"]},
    },
}
SPEC = """
spec_version: 1
name: ipai_connector_bench
source_type: bench
title: Bench
domain: core
api: {version: "1", docs_url: https://example.com, sunset: null, base_urls: [https://example.com]}
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth: {methods: [{type: none}]}
sync_mode: incremental
schedule: "17 * * * *"
streams: [{name: narrow, sync_mode: incremental, cursor: updated_at, description: Records.}]
"""


def make_records(count: int) -> list[dict[str, Any]]:
    """Records of eight columns, about 230 bytes each, the same in every run."""
    chance, start = random.Random(7), datetime(2024, 1, 1, tzinfo=UTC)
    made = []
    for number in range(count):
        created = start + timedelta(seconds=7 * number)
        updated = created + timedelta(seconds=chance.randrange(3600))
        made.append(
            {
                "id": number,
                "uuid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                "name": f"{chance.choice(WORDS)} {chance.choice(WORDS)} {number}",
                "amount": round(chance.random() * 10_000, 2),
                "flag": chance.random() < 0.5,
                "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "updated_at": updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "note": " ".join(chance.choice(WORDS) for _ in range(5)),
            }
        )
    return made


def sdk_tap(records: list[dict[str, Any]], *, level: str = "", writer: bool = False) -> Any:
    """A tap as singer-sdk has it, with none, one or both of its public switches."""
    from singer_sdk import Stream, Tap
    from singer_sdk.helpers.conform import TypeConformanceLevel

    class Narrow(Stream):
        name = "narrow"
        schema = SCHEMA
        primary_keys = ("id",)
        replication_key = "updated_at"

        def get_records(self, context: Any) -> Any:
            del context
            yield from records

    class TapBench(Tap):
        name = "tap-bench"

        def discover_streams(self) -> list[Stream]:
            return [Narrow(self)]

    if level:
        Narrow.TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel[level]
    if writer:
        from singer_sdk.contrib.msgspec import MsgSpecWriter

        TapBench.message_writer_class = MsgSpecWriter
    return TapBench(config={})


def our_local_tap(records: list[dict[str, Any]], **attributes: Any) -> Any:
    """A tap of the kit whose records come from an iterator."""
    from ipai_kit.local import LocalStream
    from ipai_kit.spec import parse_spec
    from ipai_kit.tap import ConnectorTap

    class Narrow(LocalStream):
        name = "narrow"
        schema = SCHEMA
        primary_keys = ("id",)
        replication_key = "updated_at"

        def get_records(self, context: Any) -> Any:
            del context
            yield from records

    class TapBench(ConnectorTap):
        spec = parse_spec(SPEC)
        stream_types = (Narrow,)

    for name, value in attributes.items():
        setattr(Narrow, name, value)
    return TapBench(config={})


def unchanged(stream: Any, row: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """Look at a record and leave it as it is."""
    del stream, context
    return row


def our_mapped_tap(records: list[dict[str, Any]]) -> Any:
    """The same with something that looks into each record: singer-sdk's way, our writer."""
    return our_local_tap(records, post_process=unchanged)


def our_rest_tap(records: list[dict[str, Any]]) -> Any:
    """A REST tap of the kit; the pages of a hundred are in memory already."""
    from ipai_kit.rest import PageNumber, Reply, RestStream
    from ipai_kit.spec import parse_spec
    from ipai_kit.tap import ConnectorTap

    class Narrow(RestStream):
        name = "narrow"
        path = "/narrow"
        schema = SCHEMA
        primary_keys = ("id",)
        replication_key = "updated_at"
        paginator = PageNumber(size=100)

    class TapBench(ConnectorTap):
        spec = parse_spec(SPEC)
        stream_types = (Narrow,)

    pages = [
        json.dumps(records[start : start + 100]).encode() for start in range(0, len(records), 100)
    ]

    class Memory:
        def send(self, call: Any, sign: Any = None) -> Reply:
            del sign
            number = call.params["page"] - 1
            body = pages[number] if number < len(pages) else b"[]"
            return Reply(200, {}, body, call.url)

        def close(self) -> None:
            pass

    tap = TapBench(config={"requests_per_second": 10_000_000})
    tap.transport = Memory()
    return tap


VARIANTS: dict[str, tuple[str, Callable[[list[dict[str, Any]]], Any]]] = {
    "sdk": ("singer-sdk, default", sdk_tap),
    "sdk-none": (
        "singer-sdk, conformance NONE",
        lambda records: sdk_tap(records, level="NONE"),
    ),
    "sdk-msgspec": (
        "singer-sdk, MsgSpecWriter",
        lambda records: sdk_tap(records, writer=True),
    ),
    "sdk-both": (
        "singer-sdk, both switches",
        lambda records: sdk_tap(records, level="NONE", writer=True),
    ),
    "ours-mapped": ("ipai_kit, dict lane (post_process)", our_mapped_tap),
    "ours-local": ("ipai_kit, local iterator", our_local_tap),
    "ours-rest": ("ipai_kit, REST raw lane", our_rest_tap),
}


def emit(variant: str, count: int) -> None:
    """Run one variant in this process; CPU seconds go to standard error."""
    tap = VARIANTS[variant][1](make_records(count))
    before = resource.getrusage(resource.RUSAGE_SELF)
    tap.sync_all()
    sys.stdout.flush()
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stderr.write(f"\ncpu_seconds={spent}\n")


def measure(variant: str, count: int) -> float:
    """Return the CPU seconds of one run in a process of its own."""
    with Path(os.devnull).open("wb") as nowhere:
        done = subprocess.run(
            [sys.executable, __file__, "--variant", variant, "--records", str(count)],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(done.stderr.rpartition("cpu_seconds=")[2])


def main() -> None:
    """Measure every variant in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        emit(options.variant, options.records)
        return
    runs: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.repeat):  # in turn, so that a busy moment hits all of them
        for variant, spent in runs.items():
            spent.append(measure(variant, options.records))
    rows = [
        {
            "variant": VARIANTS[variant][0],
            "cpu_seconds": round(statistics.median(spent), 3),
            "records_per_cpu_second": round(options.records / statistics.median(spent)),
            "cpu_of_runs": [round(one, 3) for one in spent],
            "microseconds_per_record": round(statistics.median(spent) / options.records * 1e6, 2),
        }
        for variant, spent in runs.items()
    ]
    if options.json:
        print(json.dumps({"records": options.records, "repeat": options.repeat, "rows": rows}))
        return
    print(f"{options.records} records of eight columns, median of {options.repeat} runs")
    print(f"{'variant':36} {'CPU s':>8} {'records/CPU s':>14} {'us/record':>10}")
    for row in rows:
        print(
            f"{row['variant']:36} {row['cpu_seconds']:8.2f} "
            f"{row['records_per_cpu_second']:14,d} {row['microseconds_per_record']:10.2f}"
        )


if __name__ == "__main__":
    main()
