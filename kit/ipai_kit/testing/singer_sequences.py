# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies of what a target may be fed: sequences of messages, replayed and disturbed.

A `Feed` is a list of runs. Each epoch of it has one sequence of messages of a source, delivered
once or several times: from the start or from an earlier STATE, whole or broken off inside a line,
with stretches out of order and messages doubled. A content comes with one time only, as in a tap
that delivers the same bytes again; a later epoch has later versions of its generations.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from ipai_kit.testing.bronze_model import BronzeModel, Message

STREAMS: Final = ("a", "b", "c")
"""One with key and cursor, one with two keys and no cursor, one without keys."""
_KEYS: Final = {"a": ["id"], "b": ["id", "part"], "c": []}
_TYPES: Final = {"id": "integer", "part": "string", "u": ["integer", "null"], "v": "integer"}
_PAST, _FUTURE = 2024, 2124


@dataclass(frozen=True)
class Delivery:
    """The input of one run."""

    messages: tuple[Message, ...]
    breaks_off: bool = False

    def data(self) -> bytes:
        """The bytes that the target reads."""
        lines = b"".join(json.dumps(message).encode() + b"\n" for message in self.messages)
        return lines + b'{"type":"RECO' if self.breaks_off else lines

    @property
    def last_state(self) -> Any:
        """The value of the last STATE, which must come out of the run; None without one."""
        values = [m["value"] for m in self.messages if m["type"] == "STATE"]
        return values[-1] if values else None


@dataclass(frozen=True)
class Feed:
    """Runs, one after the other, and what Bronze holds after them."""

    deliveries: tuple[Delivery, ...]
    revives: bool

    def model(self) -> BronzeModel:
        """The model after all runs."""
        model = BronzeModel(self.revives)
        for delivery in self.deliveries:
            model.run(delivery.messages, is_complete=not delivery.breaks_off)
        return model


def schema_message(stream: str, *, extra: int = 0) -> Message:
    """The SCHEMA of a stream; `extra` makes it another one with the same keys and cursor."""
    properties = {name: {"type": kind} for name, kind in _TYPES.items()} | {f"x{extra}": {}}
    message: Message = {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": properties},
        "key_properties": _KEYS[stream],
    }
    return message | ({"bookmark_properties": ["u"]} if stream == "a" else {})


SCHEMAS: Final = tuple(schema_message(stream) for stream in STREAMS)


def scripted_feed(*runs: str, revives: bool = True) -> Feed:
    """A feed of stream `a` in short, a text for each run.

    `1` is a record of key 1, `1v2` one of version 2, `!2` its activation, `.` a STATE; the input
    breaks off at `/`.
    """
    year = _FUTURE if revives else _PAST
    deliveries = [
        Delivery(
            (*SCHEMAS, *_scripted(run.rstrip("/").split(), number * 100, f"{year}-01-0{number}")),
            breaks_off=run.endswith("/"),
        )
        for number, run in enumerate(runs, 1)
    ]
    return Feed(tuple(deliveries), revives)


def _scripted(words: Sequence[str], start: int, day: str) -> Iterator[Message]:
    for number, word in enumerate(words, start):
        key, version = _WORD.fullmatch(word).groups()  # type: ignore[union-attr]
        more = {"version": int(version)} if version else {}
        if word == ".":
            yield {"type": "STATE", "value": number}
        elif not key:
            yield {"type": "ACTIVATE_VERSION", "stream": "a", **more}
        else:
            record = {"id": int(key), "part": "x", "u": None, "v": number}
            own = {"stream": "a", "record": record, "time_extracted": f"{day}T00:00:00Z"}
            yield {"type": "RECORD", **own, **more}


_WORD: Final = re.compile(r"([0-9]*)[v!.]?([0-9]*)")

GENERATION_FEEDS: Final = {
    "activated after its records": (scripted_feed("1v1 2v1 !1 .", "1v2 !2 ."), [2]),
    "activated before, whole": (scripted_feed("1v1 2v1 !1 .", "!2 1v2 ."), [2]),
    "activated before and after": (scripted_feed("1v1 2v1 !1 .", "!2 1v2 !2"), [2]),
    "activated before, no STATE after": (scripted_feed("1v1 2v1 !1 .", "!2 . 1v2"), []),
    "activated before, broken off": (scripted_feed("1v1 2v1 !1 .", "!2 1v2 . /"), []),
    "activated before, without records": (scripted_feed("1v1 2v1 !1 .", "!2 ."), [1, 2]),
    "begun in a broken run": (scripted_feed("1v1 2v1 3v1 !1 .", "1v2 . /", "2v2 !2 ."), [3]),
    "begun twice": (scripted_feed("1v1 2v1 !1 .", "1v2 . /", "2v3 !3 ."), [1]),
    "activated again": (scripted_feed("1v1 2v1 !1 .", "1v1 !1 .", "!1 2v1 ."), []),
    "older than the active": (scripted_feed("1v2 2v2 !2 .", "1v1 !1 ."), []),
    "deleted, then read again": (scripted_feed("1v1 2v1 !1 .", "1v2 !2 .", "2v2 ."), []),
    "deleted after it was read": (
        scripted_feed("1v1 2v1 !1 .", "1v2 !2 .", "2v2 .", revives=False),
        [2],
    ),
    "without any version": (scripted_feed("1 2 .", "1 !1 ."), [1, 2]),
}
"""What has been got wrong before: feeds by name, each with the keys that are deleted after it."""


@st.composite
def source_messages(
    draw: st.DrawFn, *, epoch: int = 0, year: int = _FUTURE, with_versions: bool = True
) -> list[Message]:
    """Records of a few keys, STATEs that say how far the source is, SCHEMAs, versions."""
    versioned = draw(st.sampled_from(["ab", "abc", "a", ""])) if with_versions else ""
    kinds = ["RECORD"] * 8 + ["STATE"] * 2 + ["SCHEMA"] + ["ACTIVATE_VERSION"] * 2 * bool(versioned)
    messages: list[Message] = []
    for position, kind in enumerate(
        draw(st.lists(st.sampled_from(kinds), min_size=8, max_size=30))
    ):
        stream = draw(st.sampled_from("aaabc"))
        version = {"version": epoch + 1} if stream in versioned else {}
        if kind == "STATE":
            messages.append({"type": "STATE", "value": epoch * 100 + position})
        elif kind == "SCHEMA":
            messages.append(schema_message(stream, extra=draw(st.integers(0, 1))))
        elif kind == "RECORD":
            record = _record(draw, epoch * 100 + position)
            second = draw(st.integers(0, 3))
            time = f"{year}-01-0{epoch + 1}T00:00:0{second}Z"
            own = {"stream": stream, "record": record, "time_extracted": time}
            messages.append({"type": "RECORD", **own, **version})
        elif version:
            messages.append({"type": "ACTIVATE_VERSION", "stream": stream, **version})
    return messages


@st.composite
def feeds(draw: st.DrawFn) -> Feed:
    """Some epochs, each delivered in some runs."""
    revives = draw(st.booleans())
    deliveries: list[Delivery] = []
    for epoch in range(draw(st.integers(2, 3))):
        year = _FUTURE if revives else _PAST
        source = draw(source_messages(epoch=epoch, year=year))
        deliveries += draw(st.lists(_delivery(source), min_size=1, max_size=3))
    return Feed(tuple(deliveries), revives)


@st.composite
def _delivery(draw: st.DrawFn, source: Sequence[Message]) -> Delivery:
    states = [at + 1 for at, message in enumerate(source) if message["type"] == "STATE"]
    start = draw(st.sampled_from([0, 0, *states]))
    breaks_off: bool = draw(st.booleans())
    end = draw(st.integers(start, len(source))) if breaks_off else len(source)
    messages = list(source[start:end])
    if draw(st.booleans()):
        first = draw(st.integers(0, len(messages)))
        last = draw(st.integers(first, len(messages)))
        messages[first:last] = draw(st.permutations(messages[first:last]))
    is_doubled = draw(st.booleans())
    if messages and is_doubled:
        messages.insert(draw(st.integers(0, len(messages))), draw(st.sampled_from(messages)))
    return Delivery((*SCHEMAS, *messages), breaks_off)


def _record(draw: st.DrawFn, number: int) -> dict[str, Any]:
    return {
        "id": draw(st.integers(0, 3)),
        "part": draw(st.sampled_from(["x", "y"])),
        "u": draw(st.none() | st.integers(-2, 12)),
        "v": number,
    }
