# SPDX-License-Identifier: Apache-2.0
"""Paging and judging as pure functions."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ipai_kit.exceptions import InternalError
from ipai_kit.rest import Action, Call, Reply
from tap_github.client import CreatedWindows, classify_github, moved_back

RUNS = "https://api.github.com/repositories/7/actions/runs"


def reply(status: int = 200, body: Any = None, url: str = RUNS, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps(body if body is not None else {}).encode(), url)


def page_of_runs(url: str, oldest: str, count: int = 100, **headers: str) -> Reply:
    runs = [{"id": n, "created_at": "2026-03-01T00:00:00Z"} for n in range(count - 1)]
    runs.append({"id": 0, "created_at": oldest})
    return reply(body={"total_count": 4000, "workflow_runs": runs}, url=url, **headers)


@pytest.mark.parametrize(
    ("window", "next_window"),
    [
        ("", "<=2026-02-01T00:00:00Z"),
        (">=2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z..2026-02-01T00:00:00Z"),
        (
            "2026-01-01T00:00:00Z..2026-03-05T00:00:00Z",
            "2026-01-01T00:00:00Z..2026-02-01T00:00:00Z",
        ),
        ("<=2026-03-05T00:00:00Z", "<=2026-02-01T00:00:00Z"),
    ],
)
def test_goes_on_before_the_oldest_run_at_the_cap(window: str, next_window: str) -> None:
    created = f"&created={window}" if window else ""
    last = page_of_runs(f"{RUNS}?per_page=100&page=10{created}", "2026-02-01T00:00:00Z")
    (following,) = CreatedWindows().follow(Call(RUNS), last, 100)
    query = dict(parse_qsl(urlsplit(following.url).query))

    assert query == {"per_page": "100", "created": next_window}


@pytest.mark.parametrize(("page", "count"), [(9, 100), (10, 0)])
def test_ends_below_the_cap(page: int, count: int) -> None:
    url = f"{RUNS}?per_page=100&page={page}"

    assert CreatedWindows().follow(
        Call(RUNS), page_of_runs(url, "2026-02-01T00:00:00Z"), count
    ) == ([] if count == 0 or page < 10 else None)


def test_follows_links_as_long_as_there_are_some() -> None:
    link = f'<{RUNS}?page=2>; rel="next", <{RUNS}?page=3>; rel="last"'
    first = page_of_runs(f"{RUNS}?per_page=100", "2026-02-01T00:00:00Z", link=link)

    assert [one.url for one in CreatedWindows().follow(Call(RUNS), first, 100)] == [
        f"{RUNS}?page=2",
        f"{RUNS}?page=3",
    ]


def test_refuses_to_turn_in_circles() -> None:
    second = "2026-02-01T00:00:00Z"
    stuck = page_of_runs(f"{RUNS}?per_page=100&page=10&created=<={second}", second)

    with pytest.raises(InternalError, match="within one second"):
        CreatedWindows().follow(Call(RUNS), stuck, 100)


@pytest.mark.parametrize(
    ("answer", "action", "words"),
    [
        (reply(403, {"message": "x"}, retry_after="7"), Action.LIMITED, ""),
        (reply(403, {"message": "secondary rate limit"}), Action.LIMITED, ""),
        (
            reply(403, {"message": "quota"}, x_ratelimit_remaining="0", x_ratelimit_reset="9"),
            Action.LIMITED,
            "",
        ),
        (
            reply(
                403,
                {"message": "Resource not accessible by integration"},
                x_accepted_github_permissions="members=read",
            ),
            Action.SKIP,
            "members=read",
        ),
        (
            reply(403, {"message": "Must have admin rights"}, x_accepted_oauth_scopes="repo"),
            Action.SKIP,
            "repo",
        ),
        (reply(403, {"message": "No"}), Action.SKIP, "read access"),
        (Reply(403, {}, b"<html>", RUNS), Action.SKIP, "read access"),
        (reply(403, {"message": "No"}, x_github_sso="required"), Action.SKIP, "required"),
        (reply(403, {"message": "too large to list contributors"}), Action.SKIP, ""),
        (reply(403, {"message": "Code scanning is not enabled"}), Action.SKIP, ""),
        (reply(401, {"message": "Requires authentication"}), Action.SKIP, "token"),
        (reply(401, {"message": "Bad credentials"}), Action.RENEW, ""),
        (reply(422, {"message": "pagination is limited for this resource"}), Action.EMPTY, ""),
        (reply(422, {"message": "Validation Failed"}), Action.INTERNAL, ""),
        (reply(202), Action.RETRY, ""),
        (reply(304), Action.UNCHANGED, ""),
        (reply(502), Action.RETRY, ""),
        (reply(200, []), Action.OK, ""),
    ],
)
def test_judges_a_reply_by_status_headers_and_words(
    answer: Reply, action: Action, words: str
) -> None:
    verdict = classify_github(answer)

    assert verdict.action is action
    assert words in verdict.next_step


@pytest.mark.parametrize("start", ["2026-03-05T01:02:03Z", "2026-03-05T01:02:03", "2026-03-05"])
def test_moves_a_time_back_in_githubs_form(start: str) -> None:
    moved = moved_back(start, timedelta(days=32))

    assert moved.startswith("2026-02-01T0")
    assert moved.endswith("Z")
