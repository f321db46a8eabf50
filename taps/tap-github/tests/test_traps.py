# SPDX-License-Identifier: Apache-2.0
"""What GitHub does to its readers, and that the tap loses nothing by it."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from ipai_kit.exceptions import CredentialsError, TryAgainLaterError
from ipai_kit.testing import SandboxUrl, TapRun, run_tap, running_sandbox, selecting
from tap_github.sandbox import NARROW_TOKEN, ORGANIZATION
from tap_github.tap import TapGitHub

Read = Callable[..., TapRun]
Skipped = Callable[[TapRun], dict[str, str]]


def ids(run: TapRun, stream: str) -> set[Any]:
    return {record["id"] for record in run.records[stream]}


def of_repository(url: SandboxUrl, stream: str, name: str) -> set[Any]:
    full = f"{ORGANIZATION}/{name}"
    return {one["id"] for one in url.records(stream) if one["_repository"] == full}


def by_name(*names: str) -> dict[str, Any]:
    repositories = [f"{ORGANIZATION}/{name}" for name in names]
    return {"repositories": repositories, "organizations": None, "users": None}


def test_follows_a_renamed_repository_to_its_new_name(github: SandboxUrl, read: Read) -> None:
    run = read("repositories", "issues", "commits", **by_name("old-name"))

    assert [one["full_name"] for one in run.records["repositories"]] == ["octo-sandbox/renamed"]
    assert ids(run, "issues") == of_repository(github, "issues", "renamed")
    assert {one["_repository"] for one in run.records["commits"]} == {"octo-sandbox/renamed"}


def test_a_bookmark_survives_a_rename(github: SandboxUrl, read: Read) -> None:
    first = read("issues", **by_name("renamed"))
    second = read("issues", state=first.state, **by_name("old-name"))

    assert len(first.records["issues"]) > 0
    assert second.records["issues"] == []


def test_follows_links_that_name_the_repository_by_id(read: Read, github: SandboxUrl) -> None:
    """The first page comes from /repos/{owner}/{name}, the next from /repositories/{id}."""
    with running_sandbox("github", repos=1, specials=False, issues_per_repo=250) as url:
        config = {**url.config(), "requests_per_second": 500}
        run = run_tap(TapGitHub, config, select=["issues"])
        routes = url.stats()["routes"]

        assert len(run.records["issues"]) == 290
        assert ids(run, "issues") == {one["id"] for one in url.records("issues")}
    assert routes["GET /repositories/{id}/issues"]["requests"] == 2


def test_waits_for_an_answer_that_is_not_ready(github: SandboxUrl, read: Read) -> None:
    github.fault("status", status=202, match="GET /repos/*/contributors", times=3, body={})
    run = read("contributors")

    assert ids(run, "contributors") == {one["id"] for one in github.records("contributors")}


def test_sends_the_etag_and_takes_304_for_unchanged(github: SandboxUrl, read: Read) -> None:
    first = read("labels", "tags")
    before = github.stats()["statuses"].get("304", 0)
    second = read("labels", "tags", state=first.state)

    assert second.records["labels"] == second.records["tags"] == []
    assert github.stats()["statuses"]["304"] - before == 16  # two lists of eight repositories


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403, "headers": {"retry-after": "1"}, "body": {"message": "secondary"}},
        {"status": 429, "headers": {"retry-after": "1"}},
        {"status": 502, "body": {"message": "Server Error"}},
        {"status": 500},
    ],
    ids=["secondary limit", "too many requests", "bad gateway", "server error"],
)
def test_tries_again_and_loses_nothing(
    fault: dict[str, Any], github: SandboxUrl, read: Read
) -> None:
    github.fault("status", match="GET /repos/*/issues*", times=2, skip=1, **fault)
    run = read("issues")

    assert ids(run, "issues") == {one["id"] for one in github.records("issues")}


@pytest.mark.parametrize("kind", ["cut", "broken_json"])
def test_reads_a_damaged_reply_again(kind: str, github: SandboxUrl, read: Read) -> None:
    github.fault(kind, match="GET /repos/*/pulls", times=2)
    run = read("pull_requests")

    assert ids(run, "pull_requests") == {one["id"] for one in github.records("pull_requests")}


def test_loses_no_page_to_a_bad_gateway_in_the_middle_of_paging() -> None:
    with running_sandbox("github", repos=1, specials=False, commits_per_repo=450) as url:
        url.fault("status", status=502, match="GET /repositories/*/commits", times=3, skip=1)
        config = {**url.config(), "requests_per_second": 500}
        run = run_tap(TapGitHub, config, select=["commits"])

        assert len({one["sha"] for one in run.records["commits"]}) == 450
        assert url.stats()["faults"] == {"status": 3}


def test_waits_until_the_primary_limit_is_over() -> None:
    options = {"repos": 1, "specials": False, "rate_limit": 30, "rate_window_seconds": 2}
    with running_sandbox("github", **options) as url:
        config = {**url.config(), "requests_per_second": 500, "concurrency": 4}
        started = time.monotonic()
        run = run_tap(TapGitHub, config, select=["reviews"])

        assert ids(run, "reviews") == {one["id"] for one in url.records("reviews")}
        assert time.monotonic() - started > 2


def test_ends_with_a_time_to_return_when_the_limit_lasts_too_long() -> None:
    with running_sandbox("github", repos=3, rate_limit=10) as url:
        config = {**url.config(), "requests_per_second": 500, "max_wait_seconds": 5}
        with pytest.raises(TryAgainLaterError) as caught:
            run_tap(TapGitHub, config)

    assert caught.value.retry_at is not None


def test_respects_the_secondary_limit_on_bursts() -> None:
    options = {"repos": 2, "specials": False, "burst_per_second": 40}
    with running_sandbox("github", process=True, **options) as url:  # its clock counts
        config = {**url.config(), "requests_per_second": 30, "concurrency": 16}
        run_tap(TapGitHub, config, select=["labels", "tags", "issues", "reviews"])
        stats = url.stats()

    assert stats["peak_requests_per_second"] <= 30
    assert "403" not in stats["statuses"]


def test_an_empty_repository_has_no_commits_and_that_is_no_error(
    github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    run = read("commits", "branches", "contributors", "tags", **by_name("empty"))

    assert run.records == {"commits": [], "branches": [], "contributors": [], "tags": []}
    assert skipped(run) == {}
    assert github.stats()["statuses"]["409"] == 1


def test_an_archived_repository_is_read_like_any_other(github: SandboxUrl, read: Read) -> None:
    run = read("issues", **by_name("archived"))

    assert ids(run, "issues") == of_repository(github, "issues", "archived")


def test_archived_repositories_can_be_left_out(github: SandboxUrl, read: Read) -> None:
    run = read("repositories", "issues", **by_name("archived"), skip_archived=True)

    assert len(run.records["repositories"]) == 1
    assert run.records["issues"] == []


def test_reports_disabled_issues_and_reads_the_rest(
    github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    run = read("issues", "pull_requests", **by_name("no-issues"))

    assert run.records["issues"] == []
    assert ids(run, "pull_requests") == of_repository(github, "pull_requests", "no-issues")
    assert "issues" in skipped(run)


def test_one_missing_or_blocked_repository_does_not_stop_the_others(
    github: SandboxUrl, read: Read
) -> None:
    run = read("repositories", "issues", **by_name("nowhere", "blocked", "renamed"))

    assert [one["name"] for one in run.records["repositories"]] == ["renamed"]
    assert ids(run, "issues") == of_repository(github, "issues", "renamed")
    reported = [one for one in run.events if one.get("event") == "stream_skipped"]
    assert sorted(one["status"] for one in reported) == [404, 451]


@pytest.mark.parametrize("status", [404, 409, 451])
def test_one_refused_list_does_not_stop_the_others(
    status: int, github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    github.fault("status", status=status, match="GET /repos/*/renamed/labels", times=None)
    run = read("labels")

    expected = {one["id"] for one in github.records("labels")}
    assert ids(run, "labels") == expected - of_repository(github, "labels", "renamed")
    assert "labels" in skipped(run)


def test_a_missing_permission_skips_the_stream_and_is_named(
    github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    run = read("dependabot_alerts", "teams", "labels", auth_token=NARROW_TOKEN)

    assert run.records["dependabot_alerts"] == run.records["teams"] == []
    assert len(run.records["labels"]) == len(github.records("labels"))
    assert "vulnerability_alerts=read" in skipped(run)["dependabot_alerts"]
    assert "members=read" in skipped(run)["teams"]


def test_a_switched_off_feature_is_told_in_githubs_words(
    github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    message = "Dependabot alerts are disabled for this repository."
    match = "GET /repos/*/dependabot/alerts"
    github.fault("status", status=403, match=match, times=None, body={"message": message})

    assert message in skipped(read("dependabot_alerts"))["dependabot_alerts"]


def test_single_sign_on_is_told_with_its_address(
    github: SandboxUrl, read: Read, skipped: Skipped
) -> None:
    headers = {"x-github-sso": "required; url=https://github.com/orgs/octo/sso?authorization=1"}
    body = {"message": "Resource protected by organization SAML enforcement."}
    github.fault(
        "status", status=403, match="GET /orgs/*/teams", times=None, headers=headers, body=body
    )

    assert "https://github.com/orgs/octo/sso" in skipped(read("teams"))["teams"]


def test_strangers_read_what_is_public(github: SandboxUrl, read: Read, skipped: Skipped) -> None:
    run = read("members", "teams", "repositories", auth_token=None)

    assert len(run.records["members"]) == 5
    assert "private" not in {one["name"] for one in run.records["repositories"]}
    assert "token" in skipped(run)["teams"]


def test_a_wrong_token_ends_the_run(read: Read) -> None:
    with pytest.raises(CredentialsError, match="not accepted"):
        read("labels", auth_token="wrong")


def test_issues_flag_pull_requests_and_keep_them(github: SandboxUrl, read: Read) -> None:
    issues = read("issues").records["issues"]
    flagged = {one["number"] for one in issues if one["_is_pull_request"]}

    assert all(("pull_request" in one) is one["_is_pull_request"] for one in issues)
    assert 0 < len(flagged) < len(issues)


def test_anonymous_contributors_are_told_apart(github: SandboxUrl, read: Read) -> None:
    run = read("contributors", "anonymous_contributors")

    assert all(one["id"] for one in run.records["contributors"])
    assert all("id" not in one for one in run.records["anonymous_contributors"])
    assert len(run.records["anonymous_contributors"]) > 0


def test_runs_beyond_the_result_cap_are_found_in_earlier_windows() -> None:
    options = {"issues_per_repo": 0, "pulls_per_repo": 0, "commits_per_repo": 5}
    with running_sandbox("github", repos=1, specials=False, runs_per_repo=2350, **options) as url:
        config = {**url.config(), "requests_per_second": 500}
        run = run_tap(TapGitHub, config, select=["workflow_runs"])

        assert ids(run, "workflow_runs") == {one["id"] for one in url.records("workflow_runs")}
        assert len(run.records["workflow_runs"]) <= 2350 + 4  # a few stand at a boundary


def test_a_list_that_github_pages_no_further_ends_with_a_warning(
    github: SandboxUrl, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    message = "In order to keep the API fast for everyone, pagination is limited."
    github.fault(
        "status", status=422, match="GET /repos/*/stargazers", times=1, body={"message": message}
    )
    with caplog.at_level(logging.WARNING):
        run = read("stargazers", **by_name("renamed"))

    assert run.records["stargazers"] == []
    assert "does not page further" in caplog.text


def test_a_repository_that_is_found_twice_is_read_once(github: SandboxUrl, read: Read) -> None:
    search = ["topic:sandbox", "renamed"]
    run = read("labels", repositories=["octo-sandbox/renamed"], search=search)

    assert len(run.records["labels"]) == len(github.records("labels"))


def test_search_answers_in_an_envelope(github: SandboxUrl, read: Read) -> None:
    run = read("repositories", search=["language:python"], organizations=None, users=None)

    languages = {one["language"] for one in run.records["repositories"]}
    assert languages == {"Python"}


def test_stream_maps_are_honoured(github: SandboxUrl, read: Read) -> None:
    maps = {"labels": {"name": "name.upper()", "color": None}}
    labels = read("labels", stream_maps=maps).records["labels"]

    assert all(one["name"].isupper() and "color" not in one for one in labels)


def test_nothing_is_read_of_organizations_when_none_is_chosen(read: Read) -> None:
    run = read("organizations", "members", "teams", **by_name("renamed"))

    assert run.records == {"organizations": [], "members": [], "teams": []}


def test_selected_children_are_read_below_a_parent_that_is_not(
    github: SandboxUrl, read: Read
) -> None:
    run = read("reviews", "workflow_jobs")

    assert set(run.records) == {"reviews", "workflow_jobs"}
    assert ids(run, "reviews") == {one["id"] for one in github.records("reviews")}
    assert ids(run, "workflow_jobs") == {one["id"] for one in github.records("workflow_jobs")}


def test_the_catalog_may_select_single_fields(github: SandboxUrl) -> None:
    config = {**github.config(), "requests_per_second": 500}
    catalog = selecting(TapGitHub(config=config).catalog_dict, ["labels"])
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if entry["breadcrumb"] == ["properties", "color"]:
                entry["metadata"]["selected"] = False
    labels = run_tap(TapGitHub, config, catalog=catalog).records["labels"]

    assert labels
    assert all("color" not in one and "name" in one for one in labels)
