#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes schemas/streams/<source>/<stream>.json from what the installed taps discover.

    python schemas/export_streams.py            # all installed connectors
    python schemas/export_streams.py github     # one
    python schemas/export_streams.py --check    # writes nothing; exit 1 when a file is out of date

Only streams that a `connector.yaml` lists are contracts; what a database holds is not.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipai_kit.spec import InstalledConnector, discover_connectors, load_spec

FOLDER = Path(__file__).parent / "streams"
WIDTH = 100


def contracts(connector: InstalledConnector) -> Iterator[tuple[Path, str]]:
    """Each stream's file and its text."""
    spec = load_spec(connector.spec_path)
    listed = {stream.name: stream for stream in spec.streams}
    for entry in _discovered(connector.command):
        if (stream := listed.get(entry["tap_stream_id"])) is None:
            continue
        contract = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"{spec.title}: {stream.name}",
            "description": stream.description,
            "x-ipai": {
                "source": spec.source_type,
                "domain": spec.domain,
                "stream": stream.name,
                "key_properties": entry.get("key_properties") or [],
                "replication_key": entry.get("replication_key"),
            },
            "type": "object",
            "properties": entry["schema"]["properties"],
        }
        yield FOLDER / spec.source_type / f"{stream.name}.json", _text(contract) + "\n"


def _discovered(command: str) -> list[dict[str, Any]]:
    beside = Path(sys.executable).parent / command
    found = str(beside) if beside.exists() else shutil.which(command)
    if found is None:
        message = f"Command {command!r} is not installed. Run 'make setup'."
        raise SystemExit(message)
    done = subprocess.run([found, "--discover"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    streams: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return streams


def _text(value: Any, indent: int = 0, room: int = WIDTH) -> str:
    """JSON in which whatever fits stands on one line, so that a diff shows one field per line."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(flat) <= room:
        return flat
    inner = indent + 2
    names = [json.dumps(name) + ": " for name in value] if isinstance(value, dict) else None
    items = list(value.values()) if isinstance(value, dict) else value
    lines = []
    for number, item in enumerate(items):
        name = names[number] if names else ""
        lines.append(" " * inner + name + _text(item, inner, WIDTH - inner - len(name) - 1))
    opening, closing = ("{", "}") if names is not None else ("[", "]")
    return f"{opening}\n" + ",\n".join(lines) + f"\n{' ' * indent}{closing}"


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="*", help="source types; all when absent")
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    arguments = parser.parse_args()
    stale = []
    for source, connector in sorted(discover_connectors().items()):
        if arguments.source and source not in arguments.source:
            continue
        wanted = dict(contracts(connector))
        present = set((FOLDER / source).glob("*.json"))
        stale += [
            path
            for path, text in wanted.items()
            if path not in present or path.read_text("utf-8") != text
        ]
        stale += sorted(present - set(wanted))
        if not arguments.check:
            _write(wanted, present)
    for path in stale:
        verb = "out of date:" if arguments.check else "wrote:"
        sys.stdout.write(f"{verb} {path.relative_to(FOLDER.parent)}\n")
    return 1 if stale and arguments.check else 0


def _write(wanted: dict[Path, str], present: set[Path]) -> None:
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for path in present - set(wanted):
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
