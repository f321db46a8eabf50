# SPDX-License-Identifier: Apache-2.0
"""A made-up folder on a web server: orders as CSV, one file a month, and events as JSON lines.

Served with ETag, Last-Modified and byte ranges, as a store does it. A step of its world adds a line
to the events, corrects an order and delivers the next month.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from ipai_kit.sandbox import EPOCH, Refused, Reply, Sandbox, Seeded, TokenAuth, open_access
from tap_files.rows import ETAG, FILE, LINE, MODIFIED, SIZE

__all__ = ["TOKEN", "create_app"]

TOKEN = "read-the-files"  # noqa: S105 - opens made-up files on loopback
_NAMES = ("Müller & Söhne", 'The "Old" Mill', "Ana, Ltd.", "Zoë\nCorner Shop", "  spaced  ")
_PLACE_KEY = (FILE, LINE)


@dataclass
class _Folder:
    """The files and when each was written."""

    rows: int
    months: int
    seed: int
    step: int = 0
    base: str = "http://127.0.0.1"

    def advance(self, steps: int) -> Mapping[str, Any]:
        """Deliver another month, correct an order of the first, log more events."""
        self.step += steps
        return {"months": self.months + self.step, "corrected": "orders-2026-01.csv"}

    def reset(self) -> None:
        """Back to the first delivery."""
        self.step = 0

    def names(self) -> list[str]:
        """What the folder shows."""
        months = range(1, self.months + self.step + 1)
        return [*(f"orders-{_month(one)}.csv" for one in months), "events.jsonl"]

    def content(self, name: str) -> bytes:
        """The bytes of a file."""
        if name == "events.jsonl":
            lines = (json.dumps(event, ensure_ascii=False) for event in self._events())
            return "".join(f"{line}\n" for line in lines).encode()
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
        writer.writerow(["id", "customer", "amount", "ordered_on", "zip"])
        for order in self._orders(name):
            writer.writerow(list(order.values()))
        return b"\xef\xbb\xbf" + text.getvalue().encode()

    def modified(self, name: str) -> datetime:
        """When a file was written last; whole seconds, as the header has them."""
        days = self.names().index(name)
        is_changed = name in {"orders-2026-01.csv", "events.jsonl"}
        return EPOCH + timedelta(days=days, hours=self.step if is_changed else 0)

    def place(self, name: str) -> dict[str, Any]:
        """What a row says about its file."""
        content = self.content(name)
        return {
            FILE: f"{self.base}/data/{name}",
            MODIFIED: self.modified(name).isoformat(),
            ETAG: entity_tag(content),
            SIZE: len(content),
        }

    def landed_orders(self) -> Iterator[dict[str, Any]]:
        """The rows of all months as the tap should land them."""
        for name in self.names()[:-1]:
            line = 2
            for order in self._orders(name):
                yield {**order, **self.place(name), LINE: line}
                line += 1 + order["customer"].count("\n")

    def landed_events(self) -> Iterator[dict[str, Any]]:
        """The events as the tap should land them."""
        place = self.place("events.jsonl")
        for line, event in enumerate(self._events(), 1):
            yield {**event, **place, LINE: line}

    def landed_files(self) -> Iterator[dict[str, Any]]:
        """What the tap should tell about the files themselves."""
        for name in self.names():
            place = self.place(name)
            is_orders = name != "events.jsonl"
            yield {
                "stream": "orders" if is_orders else "events",
                "file": place[FILE],
                "version": place[ETAG],
                "size": place[SIZE],
                "modified": place[MODIFIED],
                "rows": self.rows if is_orders else len(list(self._events())),
                "rejected": 0,
                "is_complete": True,
                "error": None,
            }

    def _orders(self, name: str) -> Iterator[dict[str, Any]]:
        for number in range(self.rows):
            dice = Seeded(self.seed)
            corrected = self.step if name == "orders-2026-01.csv" and number == 0 else 0
            yield {
                "id": number + 1,
                "customer": _NAMES[number % len(_NAMES)],
                "amount": Decimal(dice.number(name, number, low=100) + corrected) / 100,
                "ordered_on": f"{name[7:14]}-{number % 28 + 1:02}",
                "zip": f"{dice.number(name, number, high=99_999):05}",
            }

    def _events(self) -> Iterator[dict[str, Any]]:
        for number in range(self.rows + self.step):
            yield {
                "id": 9_007_199_254_740_993 + number,
                "kind": ("opened", "paid", "sent")[number % 3],
                "tags": ["a", "ü"][: number % 3],
                "detail": {"by": None if number % 2 else f"user-{number}"},
            }


def create_app(rows: int = 20, months: int = 2, seed: int = 7, *, token: bool = False) -> Starlette:
    """The stand-in; with `token` it asks for one."""
    folder = _Folder(rows, months, seed)
    streams = [
        {"name": "orders", "path": "{url}/data/orders-*.csv", "column_types": {"zip": "text"}},
        {"name": "events", "path": "{url}/data/*.jsonl"},
    ]
    config = {"files": streams, **({"http_token": TOKEN} if token else {})}
    auth = TokenAuth({TOKEN}) if token else open_access
    sandbox = Sandbox("files", world=folder, config=config, auth=auth)

    @sandbox.get("/data/")
    def index(request: Request) -> Reply:
        folder.base = f"{request.url.scheme}://{request.url.netloc}"
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in folder.names())
        return Reply(links.encode(), media_type="text/html; charset=utf-8")

    @sandbox.get("/data/{name}")
    def file(request: Request) -> Reply:
        name = request.path_params["name"]
        if name not in folder.names():
            raise Refused(404, "Not Found")
        content = folder.content(name)
        headers = {
            "etag": f'"{entity_tag(content)}"',
            "last-modified": format_datetime(folder.modified(name).astimezone(UTC), usegmt=True),
            "accept-ranges": "bytes",
        }
        return ranged(content, request.headers.get("range", ""), headers)

    sandbox.stream("orders", _PLACE_KEY, folder.landed_orders)
    sandbox.stream("events", _PLACE_KEY, folder.landed_events)
    sandbox.stream("files", ("stream", "file"), folder.landed_files)
    return sandbox.app()


def ranged(content: bytes, wanted: str, headers: Mapping[str, str]) -> Reply:
    """The part of a file that a request wants, or all of it."""
    if not wanted.startswith("bytes="):
        return Reply(content, headers=headers, media_type="application/octet-stream")
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last) + 1 if first and last else len(content), len(content))
    if start >= len(content):
        return Reply(b"", 416, {**headers, "content-range": f"bytes */{len(content)}"})
    span = f"bytes {start}-{end - 1}/{len(content)}"
    return Reply(
        content[start:end], 206, {**headers, "content-range": span}, "application/octet-stream"
    )


def entity_tag(content: bytes) -> str:
    """What is another when the content is."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _month(number: int) -> str:
    return f"{2026 + (number - 1) // 12}-{(number - 1) % 12 + 1:02}"
