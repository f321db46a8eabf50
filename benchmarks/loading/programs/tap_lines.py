# SPDX-License-Identifier: Apache-2.0
"""A tap of the kit that reads JSON lines, makes a dict of each and writes Singer messages.

Called with the file of records and one of messages, whose first is the SCHEMA that it sends. With a
folder as third it hands over the files in it, as a tap does whose source exports files.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ipai_kit.local import LocalStream
from ipai_kit.singer.batch_files import BatchFolder, HandedFile
from ipai_kit.spec import parse_spec
from ipai_kit.tap import ConnectorTap

_BLOCK = 1 << 20
_RECORDS, _MESSAGES, *_EXPORTED = map(Path, sys.argv[1:])
with _MESSAGES.open("rb") as messages:
    _SCHEMA = json.loads(messages.readline())
_SPEC = f"""
spec_version: 1
name: ipai_connector_bench
source_type: bench
title: Bench
domain: core
api: {{version: "1", docs_url: https://example.com, sunset: null, base_urls: [https://example.com]}}
tos: {{url: https://example.com/terms, reviewed_at: 2026-11-01}}
auth: {{methods: [{{type: none}}]}}
sync_mode: incremental
schedule: "17 * * * *"
streams:
  - {{name: {_SCHEMA["stream"]}, sync_mode: incremental, cursor: updated_at, description: Lines.}}
"""


class Lines(LocalStream):
    """Whatever the file holds."""

    name = _SCHEMA["stream"]
    schema = _SCHEMA["schema"]
    primary_keys = ("id",)
    replication_key = "updated_at"

    def get_batch_files(self, folder: BatchFolder, context: Any) -> Iterator[HandedFile]:
        """Hand over the files that are there."""
        del folder, context
        for path in sorted(_EXPORTED[0].iterdir()):
            yield HandedFile(path, 0, "2026-01-01T00:00:00Z", path.suffix.removeprefix("."))

    def get_records(self, context: Any) -> Iterator[dict[str, Any]]:
        """Decode the lines of a block at once."""
        del context
        decode, rest = msgspec.json.Decoder().decode_lines, b""
        with _RECORDS.open("rb") as lines:
            while block := lines.read(_BLOCK):
                whole, newline, rest = (rest + block).rpartition(b"\n")
                yield from decode(whole + newline)


class TapLines(ConnectorTap):
    """The tap."""

    spec = parse_spec(_SPEC)
    stream_types = (Lines,)


if __name__ == "__main__":
    config = {"batch_config": {"storage": {"root": str(_EXPORTED[0])}}} if _EXPORTED else {}
    TapLines(config=config).sync_all()
    sys.stdout.flush()
