# SPDX-License-Identifier: Apache-2.0
"""The streams that are loaded: the same kind, count and seed give the same bytes everywhere.

`narrow` has eight flat columns and records of 226 bytes; `nested` looks like an issue tracker's
issues, 2.5 KB with objects and lists. Every stream is written three times: as Singer messages, as
bare JSON lines for loaders that do not speak Singer, and as rows that `\\copy` takes as they are.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

SEED = 7
STATE_EVERY = 10_000
READ_AT = "2026-01-01T00:00:00.000000Z"
COPY_COLUMNS = (
    "instance_id, record_key, record, emitted_at, source, stream, cursor, run_id, record_hash"
)
_START = datetime(2024, 1, 1)  # noqa: DTZ001 - the text gets its Z below, and that is faster
# 32 words, so that five random bits choose one: the same on every version of Python.
_TEXT_OF_WORDS = """alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike
november oscar papa quebec romeo sierra tango uniform victor whiskey Müller café 東京 naïve sync
error retry cursor schema"""
_WORDS = tuple(_TEXT_OF_WORDS.split())


@dataclass(frozen=True)
class Load:
    """The files of one stream."""

    kind: str
    rows: int
    folder: Path

    @property
    def stream(self) -> str:
        """Name of the stream, and of its table with most loaders."""
        return STREAM_NAMES[self.kind]

    @property
    def singer(self) -> Path:
        """Singer messages."""
        return self.folder / "messages.jsonl"

    @property
    def records(self) -> Path:
        """The records alone."""
        return self.folder / "records.jsonl"

    @property
    def copy(self) -> Path:
        """Every column of a Bronze row, escaped for COPY."""
        return self.folder / "rows.copy"


def write_load(kind: str, rows: int, home: Path) -> Load:
    """Write the three files of a stream, unless they are there already."""
    load = Load(kind, rows, home / f"{kind}-{rows}-{SEED}")
    if (load.folder / "complete").exists():
        return load
    load.folder.mkdir(parents=True, exist_ok=True)
    with (
        load.singer.open("wb") as singer,
        load.records.open("wb") as bare,
        load.copy.open("wb") as copy,
    ):
        singer.write(schema_line(kind))
        for number, (text, cursor) in enumerate(records(kind, rows), 1):
            singer.write(record_line(load.stream, text))
            bare.write(text + b"\n")
            copy.write(_copy_row(load.stream, number, text, cursor))
            if number % STATE_EVERY == 0 or number == rows:
                singer.write(state_line(load.stream, cursor))
    (load.folder / "complete").touch()
    return load


def records(kind: str, rows: int, seed: int = SEED) -> Iterator[tuple[bytes, str]]:
    """The JSON text of each record and its replication key."""
    random = Random(seed)
    make = _MAKERS[kind]
    for number in range(1, rows + 1):
        yield make(number, random)


def schema_line(kind: str) -> bytes:
    """The SCHEMA message of a kind."""
    message = {"type": "SCHEMA", "stream": STREAM_NAMES[kind], "schema": SCHEMAS[kind]}
    return _json({**message, "key_properties": ["id"], "bookmark_properties": ["updated_at"]})


def record_line(stream: str, text: bytes) -> bytes:
    """A RECORD message around a record's text."""
    head = b'{"type":"RECORD","stream":"%b","record":' % stream.encode()
    return head + text + b',"time_extracted":"%b"}\n' % READ_AT.encode()


def state_line(stream: str, cursor: str) -> bytes:
    """The STATE after a record."""
    bookmark = {"replication_key": "updated_at", "replication_key_value": cursor}
    return _json({"type": "STATE", "value": {"bookmarks": {stream: bookmark}}})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _copy_row(stream: str, number: int, text: bytes, cursor: str) -> bytes:
    escaped = text.replace(b"\\", b"\\\\")
    key = number if stream == "narrow" else 1_000_000 + number
    digest = int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)
    before = f"bench\t[{key}]\t".encode()
    return before + escaped + f"\t{READ_AT}\tsinger\t{stream}\t{cursor}\trun\t{digest}\n".encode()


def _moment(seconds: int) -> str:
    return (_START + timedelta(seconds=seconds)).isoformat() + "Z"


def _words(bits: int, count: int) -> str:
    return " ".join([_WORDS[bits >> 5 * place & 31] for place in range(count)])


def _narrow(number: int, random: Random) -> tuple[bytes, str]:
    bits = random.getrandbits(208)
    digits = f"{bits & (1 << 128) - 1:032x}"
    rest = bits >> 128
    amount = (rest & 0xFFFFF) % 1_000_000 / 100
    flag = "true" if rest >> 20 & 1 else "false"
    note = "null" if rest >> 21 & 15 == 0 else f'"{_words(rest >> 25, 5)}"'
    updated = _moment(7 * number + (rest >> 50 & 0xFFF))
    text = (
        f'{{"id":{number},"uuid":"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-'
        f'{digits[20:]}","name":"{_words(rest >> 66, 2)} {number}","amount":{amount},"flag":{flag},'
        f'"created_at":"{_moment(7 * number)}","updated_at":"{updated}","note":{note}}}'
    )
    return text.encode(), updated


def _nested(number: int, random: Random) -> tuple[bytes, str]:
    api = f"https://api.tracker.example.com/repos/acme/widgets/issues/{number}"
    closed = random.getrandbits(1) == 1
    updated = _moment(60 * number + random.getrandbits(16))
    lines = range(9 + random.getrandbits(3))
    body = "\n".join(_words(random.getrandbits(45), 9) + ' "q" \\ tab\t' for _ in lines)
    record = {
        "id": 1_000_000 + number,
        "node_id": f"I_kwDO{number:010d}",
        "number": number,
        "url": api,
        "html_url": f"https://tracker.example.com/acme/widgets/issues/{number}",
        "repository_url": "https://api.tracker.example.com/repos/acme/widgets",
        "title": _words(random.getrandbits(35), 7),
        "body": body if random.getrandbits(4) else None,
        "state": "closed" if closed else "open",
        "locked": False,
        "comments": random.getrandbits(5),
        "created_at": _moment(60 * number),
        "updated_at": updated,
        "closed_at": _moment(60 * number + 90_000) if closed else None,
        "author_association": "CONTRIBUTOR",
        "user": _user(random),
        "labels": [_label(random) for _ in range(random.getrandbits(2))],
        "assignees": [_user(random) for _ in range(random.getrandbits(2) % 3)],
        "milestone": _milestone(random) if random.getrandbits(1) else None,
        "reactions": {"url": f"{api}/reactions", "total_count": 3, "+1": 2, "-1": 0, "heart": 1},
    }
    return _json(record)[:-1], updated


def _user(random: Random) -> dict[str, Any]:
    number = random.getrandbits(12)
    return {
        "id": number,
        "login": f"user{number}",
        "node_id": f"U_kgDO{number:08d}",
        "avatar_url": f"https://avatars.example.com/u/{number}?v=4",
        "html_url": f"https://tracker.example.com/user{number}",
        "url": f"https://api.tracker.example.com/users/user{number}",
        "type": "User",
        "site_admin": False,
    }


def _label(random: Random) -> dict[str, Any]:
    number = random.getrandbits(5)
    word = _WORDS[number]
    return {
        "id": 10_000 + number,
        "node_id": f"LA_{number:010d}",
        "url": f"https://api.tracker.example.com/repos/acme/widgets/labels/{word}",
        "name": word,
        "description": f"Something about {word}",
        "color": f"{number * 4001:06x}",
        "default": number % 5 == 0,
    }


def _milestone(random: Random) -> dict[str, Any]:
    state = {"id": 77, "title": "v1.2", "state": "open", "due_on": None}
    return {**state, "creator": _user(random)}


def _or_null(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


def _object(**properties: Any) -> dict[str, Any]:
    return _or_null("object", properties=properties)


_TEXT, _WHOLE, _TRUTH = _or_null("string"), _or_null("integer"), _or_null("boolean")
_TIME = _or_null("string", format="date-time")
_USER = _object(
    **dict.fromkeys(("login", "node_id", "avatar_url", "html_url", "url", "type"), _TEXT),
    id=_WHOLE,
    site_admin=_TRUTH,
)
_LABEL = _object(
    **dict.fromkeys(("node_id", "url", "name", "description", "color"), _TEXT),
    id=_WHOLE,
    default=_TRUTH,
)
STREAM_NAMES = {"narrow": "narrow", "nested": "issues"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "narrow": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "uuid": _TEXT,
            "name": _TEXT,
            "amount": _or_null("number"),
            "flag": _TRUTH,
            "created_at": _TIME,
            "updated_at": _TIME,
            "note": _TEXT,
        },
    },
    "nested": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            **dict.fromkeys(("node_id", "url", "html_url", "repository_url", "title"), _TEXT),
            **dict.fromkeys(("body", "state", "author_association"), _TEXT),
            **dict.fromkeys(("created_at", "updated_at", "closed_at"), _TIME),
            "number": _WHOLE,
            "locked": _TRUTH,
            "comments": _WHOLE,
            "user": _USER,
            "labels": _or_null("array", items=_LABEL),
            "assignees": _or_null("array", items=_USER),
            "milestone": _object(id=_WHOLE, title=_TEXT, state=_TEXT, due_on=_TIME, creator=_USER),
            "reactions": _or_null(
                "object",
                properties={
                    "url": _TEXT,
                    "total_count": _WHOLE,
                    **dict.fromkeys(("+1", "-1", "heart"), _WHOLE),
                },
            ),
        },
    },
}
_MAKERS: dict[str, Callable[[int, Random], tuple[bytes, str]]] = {
    "narrow": _narrow,
    "nested": _nested,
}
