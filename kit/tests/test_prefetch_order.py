# SPDX-License-Identifier: Apache-2.0
"""For any tree of pages and children, any latencies and faults: parallel equals serial."""

from __future__ import annotations

import json
import random
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipai_kit.rest import Reply
from ipai_kit.rest.transport import TransportError

BASE = "https://api.example.com"
FAULTS = (404, 403, 500, "cut", "broken")


@st.composite
def worlds(draw):
    """A source: its repositories, their issues by cursor, comments, labels, and its faults."""
    repos = []
    for number in range(draw(st.integers(0, 5))):
        cursors = sorted(draw(st.lists(st.integers(1, 9), max_size=5)))
        repos.append(
            {
                "id": number + 1,
                "issues": [
                    {"id": n + 1, "updated_at": f"2024-01-0{day}T00:00:00Z"}
                    for n, day in enumerate(cursors)
                ],
                "comments": [draw(st.integers(0, 5)) for _ in cursors],
                "labels": draw(st.integers(0, 5)),
            }
        )
    fault_paths = draw(st.dictionaries(st.integers(0, 12), st.sampled_from(FAULTS), max_size=4))
    fatal = draw(st.booleans())
    return {"repos": repos, "faults": fault_paths, "fatal": fatal, "seed": draw(st.integers())}


class Source:
    """Answers the calls of the demo tap out of a world."""

    def __init__(self, world, latency):
        self.world = world
        self.random = random.Random(world["seed"])
        self.latency = latency
        self.tries = {}

    def __call__(self, call):
        if self.latency:
            time.sleep(self.random.random() * self.latency)
        url = urlsplit(call.url)
        query = {**dict(parse_qsl(url.query)), **{k: str(v) for k, v in call.params.items()}}
        fault = self.fault(url.path + str(sorted(query.items())))
        if fault == "cut":
            raise TransportError("ConnectionError")
        if fault == "broken":
            return Reply(200, {}, b'[{"id":', call.url)
        if fault:
            return Reply(fault, {}, b"{}", call.url)
        return self.page(url.path, query, call.url)

    def fault(self, request):
        """Faults hit requests by a hash, the same in every run; the passing ones pass."""
        place = random.Random(request).randrange(13)
        kind = self.world["faults"].get(place)
        tries = self.tries[request] = self.tries.get(request, 0) + 1
        if kind in (500, "cut", "broken"):
            return kind if tries == 1 or self.world["fatal"] else None
        return kind if request.startswith("/repos/") else None

    def page(self, path, query, url):
        rows = self.rows(path.split("/")[2:], query.get("since"))
        page = int(query.get("page", 1))
        last = -(-len(rows) // 2)
        links = ""
        if page < last:
            address = f"{BASE}{path}?page="
            links = f'<{address}{page + 1}>; rel="next", <{address}{last}>; rel="last"'
            if "since" in query:  # without a last page the next is found only by reading this one
                links = f'<{BASE}{path}?page={page + 1}&since={query["since"]}>; rel="next"'
        chunk = rows[(page - 1) * 2 : page * 2]
        return Reply(200, {"link": links}, json.dumps(chunk).encode(), url)

    def rows(self, parts, since):
        if not parts:
            return [{"id": repo["id"]} for repo in self.world["repos"]]
        repo = self.world["repos"][int(parts[0]) - 1]
        if parts[1] == "labels":
            return [{"id": n} for n in range(repo["labels"])]
        if len(parts) == 2:
            return [one for one in repo["issues"] if not since or one["updated_at"] >= since]
        return [{"id": n} for n in range(repo["comments"][int(parts[2]) - 1])]


SELECT = {"repos", "labels", "issues", "comments"}


def without_time(output):
    return [
        (one["stream"], json.dumps(one["record"]))
        for one in output.messages
        if one["type"] == "RECORD"
    ]


def assert_states_are_true(output):
    """At each STATE, everything that its bookmarks speak of was emitted before."""
    issues, comments = {}, {}
    source_issues = {}
    for one in output.messages:
        if one["type"] != "RECORD" or one["stream"] != "issues":
            continue
        source_issues.setdefault(one["record"]["_repo"], []).append(one["record"])
    for one in output.messages:
        if one["type"] == "RECORD" and one["stream"] == "issues":
            issues.setdefault(one["record"]["_repo"], set()).add(one["record"]["id"])
        elif one["type"] == "RECORD" and one["stream"] == "comments":
            key = (one["record"]["_repo"], one["record"]["_issue"])
            comments[key] = comments.get(key, 0) + 1
        elif one["type"] == "STATE":
            yield one["value"]["bookmarks"], issues, comments


@pytest.mark.parametrize("selected", [SELECT, {"comments"}, SELECT - {"comments"}])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds(), threads=st.sampled_from([1, 3, 8]))
def test_the_parallel_run_writes_what_the_serial_run_writes(
    demo, run_demo, selected, world, threads
):
    def run(serial, latency):
        return run_demo(
            demo.Transport(Source(world, latency)),
            serial=serial,
            select=selected,
            config={"concurrency": threads},
            waiting=demo.Waiting(),
        )

    serial, parallel = run(True, 0), run(False, 0.002)

    assert without_time(serial) == without_time(parallel)
    assert serial.state == parallel.state
    assert type(serial.error) is type(parallel.error)
    assert str(serial.error) == str(parallel.error)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds())
def test_everything_that_a_state_speaks_of_was_emitted_before_it(demo, run_demo, world):
    output = run_demo(demo.Transport(Source(world, 0.001)), select=SELECT, waiting=demo.Waiting())
    repos = {repo["id"]: repo for repo in world["repos"]}
    refused = world["faults"].values()

    for bookmarks, issues, comments in assert_states_are_true(output):
        for partition in bookmarks.get("issues", {}).get("partitions", []):
            repo = repos[partition["context"]["repo"]]
            due = [
                one
                for one in repo["issues"]
                if one["updated_at"] <= partition["replication_key_value"]
            ]
            assert {one["id"] for one in due} == issues.get(repo["id"], set()) & {
                one["id"] for one in due
            }
        if 404 in refused or 403 in refused:
            continue
        for partition in bookmarks.get("comments", {}).get("partitions", []):
            repo = repos[partition["context"]["repo"]]
            for one, count in zip(repo["issues"], repo["comments"], strict=True):
                if one["updated_at"] <= partition["replication_key_value"]:
                    assert count == comments.get((repo["id"], one["id"]), 0)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds())
def test_a_run_from_any_state_on_completes_what_the_broken_run_left(demo, run_demo, world):
    broken = run_demo(
        demo.Transport(Source({**world, "fatal": True}, 0)), select=SELECT, waiting=demo.Waiting()
    )
    healthy = {**world, "faults": {}}
    rest = run_demo(
        demo.Transport(Source(healthy, 0)),
        select=SELECT,
        state=broken.state,
        waiting=demo.Waiting(),
    )
    whole = run_demo(demo.Transport(Source(healthy, 0)), select=SELECT, waiting=demo.Waiting())

    seen = set(without_time(broken)) | set(without_time(rest))
    if 404 not in world["faults"].values() and 403 not in world["faults"].values():
        assert set(without_time(whole)) == seen
