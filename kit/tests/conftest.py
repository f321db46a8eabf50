# SPDX-License-Identifier: Apache-2.0
"""A small tap, the ways to run it, and a source that answers without a network."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from ipai_kit.rest import Call, LinkHeader, Reply, RestStream
from ipai_kit.singer.writer import FastWriter
from ipai_kit.spec import parse_spec
from ipai_kit.tap import ConnectorTap
from ipai_kit.testing.loopback import loopback as serve
from ipai_kit.waiting import Waiting

SPEC = """
spec_version: 1
name: ipai_connector_demo
source_type: demo
title: Demo
domain: devops
api:
  version: "1"
  docs_url: https://example.com/docs
  sunset: null
  base_urls: [https://api.example.com]
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth: {methods: [{type: bearer, settings: [auth_token]}]}
sync_mode: incremental
schedule: "17 * * * *"
quota: {requests_per_second: 1000, concurrency: 8, max_wait_seconds: 60, max_attempts: 4}
settings:
  auth_token: {type: string, secret: true, description: A token., env: DEMO_TOKEN}
  repositories: {type: array, items: {type: string}, description: Names.}
streams:
- {name: repos, sync_mode: full_table, description: Repositories.}
- {name: labels, sync_mode: full_table, description: Labels.}
- {name: issues, sync_mode: incremental, cursor: updated_at, description: Issues.}
- {name: comments, sync_mode: incremental, cursor_from: issues, description: Comments.}
- {name: runs, sync_mode: incremental, cursor: updated_at, lookback: P2D, description: Runs.}
"""


def schema(*fields, cursor=None):
    properties = {name: {"type": ["integer", "null"]} for name in fields}
    if cursor:
        properties[cursor] = {"type": ["string", "null"], "format": "date-time"}
    return {"type": "object", "properties": properties}


class Repos(RestStream):
    name = "repos"
    path = "/repos"
    params = {"per_page": 2}
    primary_keys = ("id",)
    paginator = LinkHeader()
    schema = schema("id")


class RepoStream(RestStream):
    parent = Repos
    context_from_parent = {"repo": "id"}
    context_fields = {"_repo": "repo"}
    primary_keys = ("_repo", "id")
    paginator = LinkHeader()
    skip_on = {404, 410, 451}
    empty_on = {409: "The repository is empty."}


class Labels(RepoStream):
    name = "labels"
    path = "/repos/{repo}/labels"
    schema = schema("id", "extra", "_repo")


class Issues(RepoStream):
    name = "issues"
    path = "/repos/{repo}/issues"
    replication_key = "updated_at"
    cursor_param = "since"
    sort = "ascending"
    schema = schema("id", "number", "_repo", cursor="updated_at")


class Comments(RepoStream):
    name = "comments"
    parent = Issues
    path = "/repos/{repo}/issues/{issue}/comments"
    context_from_parent = {"issue": "id"}
    context_fields = {"_repo": "repo", "_issue": "issue"}
    primary_keys = ("_repo", "_issue", "id")
    schema = schema("id", "_repo", "_issue")


class Runs(RepoStream):
    name = "runs"
    path = "/repos/{repo}/runs"
    records_path = "workflow.runs"
    replication_key = "updated_at"
    sort = "descending"
    schema = schema("id", "_repo", cursor="updated_at")


class DemoTap(ConnectorTap):
    """A tap for tests."""

    spec = parse_spec(SPEC)
    stream_types = (Repos, Labels, Issues, Comments, Runs)
    state_interval = 0.0


class ImpatientWaiting(Waiting):
    """Notes the waits instead of waiting; the clock moves on by itself."""

    def __init__(self):
        super().__init__()
        self.waits = []
        self._skew = 0.0
        self._lock = threading.Lock()

    def sleep(self, seconds):
        self.check()
        with self._lock:
            self.waits.append(seconds)
            self._skew += seconds
        time.sleep(0)

    def monotonic(self):
        return time.monotonic() + self._skew

    def now(self):
        return time.time() + self._skew


class FakeTransport:
    """Answers calls by a function of the test; may raise TransportError."""

    def __init__(self, answer):
        self._answer = answer
        self.calls = []

    def send(self, call, sign=None):
        self.calls.append(call)
        return self._answer(call)

    def close(self):
        pass


class Output:
    """What a tap wrote, read back."""

    def __init__(self, data, error=None):
        self.lines = data.splitlines()
        self.messages = [json.loads(line) for line in self.lines]
        self.error = error

    def of(self, kind, stream=None):
        return [
            one
            for one in self.messages
            if one["type"] == kind and (stream is None or one["stream"] == stream)
        ]

    def records(self, stream):
        return [one["record"] for one in self.of("RECORD", stream)]

    @property
    def state(self):
        return self.of("STATE")[-1]["value"] if self.of("STATE") else None


@pytest.fixture(autouse=True)
def keep_signal_handlers():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def demo():
    """The classes of the demo tap and its tools."""
    return SimpleNamespace(
        Tap=DemoTap,
        Repos=Repos,
        RepoStream=RepoStream,
        Labels=Labels,
        Issues=Issues,
        Comments=Comments,
        Runs=Runs,
        Waiting=ImpatientWaiting,
        Transport=FakeTransport,
        Output=Output,
        schema=schema,
        spec=SPEC,
    )


@pytest.fixture
def reply():
    """Make a reply."""

    def make(body=b"", status=200, headers=None, url="https://api.example.com/x"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Reply(status, {k.lower(): v for k, v in (headers or {}).items()}, data, url)

    return make


@pytest.fixture
def call():
    """Make a call."""

    def make(url="https://api.example.com/x", **fields):
        return Call(url, **fields)

    return make


@pytest.fixture
def run_demo():
    """Run a tap against a fake transport or a URL; errors are kept with the output."""

    def run(
        transport=None,
        *,
        tap_class=DemoTap,
        config=None,
        state=None,
        select=None,
        catalog=None,
        serial=False,
        waiting=None,
    ):
        output = io.BytesIO()
        tap = tap_class(
            config={"requests_per_second": 1_000_000, **(config or {})},
            state=json.loads(json.dumps(state or {})),
            catalog=catalog,
            message_writer=FastWriter(output),
        )
        if waiting is not None:
            tap.waiting = waiting
        if transport is not None:
            tap.transport = transport
        for stream in tap.streams.values():
            if select is not None:
                stream.selected = stream.name in select
        error = None
        try:
            if serial:
                tap.sync_serially()
            else:
                tap.sync_all()
        except Exception as caught:  # noqa: BLE001 - kept with the output
            error = caught
        tap.message_writer.flush()
        return Output(output.getvalue(), error)

    return run


@pytest.fixture
def loopback():
    """Start servers that answer by a function; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(serve(answer))
