# SPDX-License-Identifier: Apache-2.0
"""The stand-in behaves as GitHub documents it, and the same every time."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from starlette.applications import Starlette

from ipai_kit.testing import SandboxUrl, running_sandbox
from tap_github.sandbox import ORGANIZATION, TOKENS, create_app

SIZES = {"repos": 1, "specials": False, "rate_limit": 1_000_000}


@pytest.fixture(scope="module")
def url() -> Iterator[SandboxUrl]:
    with running_sandbox("github", **SIZES) as running:
        yield running


def ask(url: str, path: str, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = {"authorization": f"Bearer {TOKENS[0]}", **named}
    return requests.get(f"{url}{path}", headers=signed, timeout=30)


@pytest.fixture(scope="module")
def base(url: SandboxUrl) -> str:
    (repository,) = ask(url, f"/orgs/{ORGANIZATION}/repos").json()
    return f"/repos/{repository['full_name']}"


def test_the_same_seed_gives_the_same_github() -> None:
    def everything(seed: int) -> dict[str, Any]:
        with running_sandbox("github", **SIZES, seed=seed) as url:
            url.advance(2)
            return {stream: url.records(stream) for stream in url.streams()}

    first, again, other = everything(3), everything(3), everything(4)

    assert first == again
    assert first["issues"] != other["issues"]


def test_reset_goes_back_to_the_first_moment() -> None:
    with running_sandbox("github", **SIZES) as url:
        before = {stream: url.records(stream) for stream in url.streams()}
        url.advance(2)
        assert url.records("commits") != before["commits"]
        url.reset()

        assert {stream: url.records(stream) for stream in url.streams()} == before


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 30), ("?per_page=7", 7), ("?per_page=500", 80), ("?per_page=0", 1), ("?page=9", 0)],
)
def test_pages_hold_at_most_a_hundred(query: str, count: int, url: SandboxUrl, base: str) -> None:
    separator = "&" if query else "?"
    found = ask(url, f"{base}/issues{query}{separator}state=all")

    assert len(found.json()) == count


def test_lists_show_open_ones_newest_first_unless_asked(url: SandboxUrl, base: str) -> None:
    issues = ask(url, f"{base}/issues").json()
    pulls = ask(url, f"{base}/pulls?sort=updated").json()  # ascending unless by creation
    closed = ask(url, f"{base}/pulls?state=closed&direction=asc").json()

    assert {one["state"] for one in [*issues, *pulls]} == {"open"}
    assert [one["number"] for one in issues] == sorted(one["number"] for one in issues)[::-1]
    assert [one["updated_at"] for one in pulls] == sorted(one["updated_at"] for one in pulls)
    assert [one["number"] for one in closed] == sorted(one["number"] for one in closed)
    assert {one["state"] for one in closed} == {"closed"}


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        ("issues", "/issues?state=all&"),
        ("issue_comments", "/issues/comments?"),
        ("review_comments", "/pulls/comments?sort=updated&"),
    ],
)
def test_since_counts_from_the_very_moment(
    stream: str, path: str, url: SandboxUrl, base: str
) -> None:
    everything = url.records(stream)
    start = sorted(one["updated_at"] for one in everything)[-20]
    found = ask(url, f"{base}{path}per_page=100&since={start}").json()
    wanted = {one["id"] for one in everything if one["updated_at"] >= start}

    assert {one["id"] for one in found} == wanted
    assert any(one["updated_at"] == start for one in found)


def test_commits_lie_between_since_and_until(url: SandboxUrl, base: str) -> None:
    commits = ask(url, f"{base}/commits?per_page=100").json()
    dates = [one["commit"]["committer"]["date"] for one in commits]
    found = ask(url, f"{base}/commits?since={dates[9]}&until={dates[4]}").json()

    assert dates == sorted(dates, reverse=True)
    assert [one["sha"] for one in found] == [one["sha"] for one in commits[4:10]]


@pytest.mark.parametrize("window", [">={0}", "{0}..{1}", "<={1}", "{0}..*"])
def test_runs_are_found_by_creation(window: str, url: SandboxUrl, base: str) -> None:
    runs = ask(url, f"{base}/actions/runs?per_page=100").json()["workflow_runs"]
    newer, older = runs[10]["created_at"], runs[20]["created_at"]
    answer = ask(url, f"{base}/actions/runs?created={window.format(older, newer)}&per_page=100")
    lower = "" if window.startswith("<") else older
    upper = newer if "{1}" in window else "9"
    wanted = [one["id"] for one in runs if lower <= one["created_at"] <= upper]

    assert [one["id"] for one in answer.json()["workflow_runs"]] == wanted
    assert answer.json()["total_count"] == len(wanted)


def test_jobs_are_those_of_the_last_attempt_unless_all_are_asked_for() -> None:
    with running_sandbox("github", **SIZES) as url:
        url.advance(1)
        again = next(one for one in url.records("workflow_runs") if one["run_attempt"] > 1)
        path = f"/repositories/{again['_repository_id']}/actions/runs/{again['id']}/jobs"
        last = ask(url, path).json()["jobs"]
        every = ask(url, f"{path}?filter=all").json()["jobs"]

    assert {one["run_attempt"] for one in last} == {again["run_attempt"]}
    assert {one["run_attempt"] for one in every} > {again["run_attempt"]}


def test_stars_have_a_time_only_in_their_own_media_type(url: SandboxUrl, base: str) -> None:
    plain = ask(url, f"{base}/stargazers").json()
    timed = ask(url, f"{base}/stargazers", accept="application/vnd.github.star+json").json()

    assert [one["user"]["id"] for one in timed] == [one["id"] for one in plain]
    assert "starred_at" in timed[0]
    assert "starred_at" not in plain[0]


def test_an_unchanged_answer_is_304_and_costs_nothing(url: SandboxUrl, base: str) -> None:
    first = ask(url, f"{base}/labels")
    second = ask(url, f"{base}/labels", if_none_match=first.headers["etag"])

    assert second.status_code == 304
    remaining = [int(one.headers["x-ratelimit-remaining"]) for one in (first, second)]
    assert remaining[0] == remaining[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/repos/octo-sandbox/nothing", 404),
        ("/repositories/1", 404),
        ("/repositories/none", 404),
        ("/orgs/nobody", 404),
        ("/users/nobody/repos", 404),
        ("/orgs/octo-sandbox/teams/nobody/members", 404),
        ("/search/repositories", 422),
        ("/app/installations", 401),
    ],
)
def test_refuses_as_github_does(path: str, status: int, url: SandboxUrl) -> None:
    answer = ask(url, path)

    assert answer.status_code == status
    assert "message" in answer.json()


def test_pages_end_where_github_ends_them() -> None:
    with running_sandbox("github", **SIZES, stars_per_repo=405) as url:
        (repository,) = ask(url, f"/orgs/{ORGANIZATION}/repos").json()
        path = f"/repos/{repository['full_name']}/stargazers?per_page=1&page="
        statuses = [ask(url, f"{path}{page}").status_code for page in (400, 401)]

    assert statuses == [200, 422]


@pytest.mark.parametrize("what", ["issues", "pulls", "commits", "runs", "deployments", "releases"])
def test_a_github_without_some_of_it_still_changes(what: str) -> None:
    with running_sandbox("github", **{**SIZES, f"{what}_per_repo": 0}) as url:
        url.advance(3)

        assert len(url.records("commits")) > 3


def test_the_history_gives_the_charts_something_to_show(url: SandboxUrl) -> None:
    pulls, runs = url.records("pull_requests"), url.records("workflow_runs")
    merged = sum(one["merged_at"] is not None for one in pulls) / len(pulls)
    ended = [one["conclusion"] for one in runs if one["status"] == "completed"]
    reviewed = {one["_pull_number"] for one in url.records("reviews")}

    assert 0.4 < merged < 0.95
    assert 0.5 < ended.count("success") / len(ended) < 1
    assert {"failure", "success"} <= set(ended)
    assert any(one["run_attempt"] > 1 for one in runs)
    assert 0.3 < len(reviewed) / len(pulls) < 1
    assert len({one["created_at"][:7] for one in pulls}) >= 6  # months


async def answer(app: Starlette, path: str, query: str) -> bytes:
    """One exchange with the app, without server and client."""
    sent = bytearray()
    token = f"Bearer {TOKENS[0]}".encode()
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"authorization", token), (b"host", b"127.0.0.1")],
        "server": ("127.0.0.1", 80),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.extend(message.get("body", b""))

    await app(scope, receive, send)
    return bytes(sent)


def test_a_page_of_a_hundred_costs_about_a_millisecond_of_cpu() -> None:
    app = create_app(**SIZES, issues_per_repo=100)

    async def milliseconds() -> float:
        (repository,) = json.loads(await answer(app, f"/orgs/{ORGANIZATION}/repos", ""))
        path = f"/repos/{repository['full_name']}/issues"
        assert len(json.loads(await answer(app, path, "state=all&per_page=100"))) == 100
        spent = []
        for _ in range(50):
            started = time.process_time()
            await answer(app, path, "state=all&per_page=100")
            spent.append(time.process_time() - started)
        return 1000 * sorted(spent)[10]

    assert asyncio.run(milliseconds()) < 2  # 0.5 on a quiet machine
