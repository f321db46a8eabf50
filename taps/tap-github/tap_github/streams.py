# SPDX-License-Identifier: Apache-2.0
"""GitHub's streams: one short class for each, grouped as the documentation groups them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any

from ipai_kit.rest.reading import PageReader
from ipai_kit.tap import ConnectorTap
from tap_github.client import NEWEST_FIRST, PAGE, CreatedWindows, EmbeddedReader, moved_back
from tap_github.scopes import Organizations, OrganizationStream, Repositories, RepositoryStream

Context = Mapping[str, Any] | None
Record = dict[str, Any]


# -- code ---------------------------------------------------------------------------------------


class Branches(RepositoryStream):
    """Branches and their heads."""

    name = "branches"
    path = "/repos/{owner}/{name}/branches"
    primary_keys = ("_repository_id", "name")


class Tags(RepositoryStream):
    """Tags."""

    name = "tags"
    path = "/repos/{owner}/{name}/tags"
    primary_keys = ("_repository_id", "name")


class Commits(RepositoryStream):
    """Commits of the default branch."""

    name = "commits"
    path = "/repos/{owner}/{name}/commits"
    primary_keys = ("_repository_id", "sha")
    replication_key = "_committed_at"
    cursor_param = "since"
    empty_on = {409: "The repository is empty."}

    def post_process(self, row: Record, context: Context = None) -> Record:
        """Lift the date that `since` filters by."""
        del context
        row["_committed_at"] = (row["commit"].get("committer") or {}).get("date")
        return row


class CheckRuns(RepositoryStream):
    """Checks on the commits of the default branch."""

    name = "check_runs"
    path = "/repos/{owner}/{name}/commits/{sha}/check-runs"
    records_path = "check_runs"
    params = {**PAGE, "filter": "all"}
    parent = Commits
    context_from_parent = {"sha": "sha"}
    context_fields = {**RepositoryStream.context_fields, "_sha": "sha"}


# -- pull requests and issues -------------------------------------------------------------------


class PullRequests(RepositoryStream):
    """Pull requests; the list has no filter by time, so it is read newest first until known."""

    name = "pull_requests"
    path = "/repos/{owner}/{name}/pulls"
    params = {**NEWEST_FIRST, "state": "all"}
    replication_key = "updated_at"
    sort = "descending"


class PullRequestStream(RepositoryStream):
    """Something that is listed once for each changed pull request."""

    parent = PullRequests
    context_from_parent = {"pull_number": "number", "pull_request_id": "id"}
    context_fields = {
        **RepositoryStream.context_fields,
        "_pull_number": "pull_number",
        "_pull_request_id": "pull_request_id",
    }


class PullRequestCommits(PullRequestStream):
    """Commits of pull requests; one commit may belong to several."""

    name = "pull_request_commits"
    path = "/repos/{owner}/{name}/pulls/{pull_number}/commits"
    primary_keys = ("_repository_id", "_pull_number", "sha")


class Reviews(PullRequestStream):
    """Submitted reviews."""

    name = "reviews"
    path = "/repos/{owner}/{name}/pulls/{pull_number}/reviews"


class ReviewComments(RepositoryStream):
    """Comments on the diffs of pull requests."""

    name = "review_comments"
    path = "/repos/{owner}/{name}/pulls/comments"
    params = NEWEST_FIRST
    replication_key = "updated_at"
    cursor_param = "since"


class Issues(RepositoryStream):
    """Issues and pull requests: GitHub numbers and lists them together."""

    name = "issues"
    path = "/repos/{owner}/{name}/issues"
    params = {**NEWEST_FIRST, "state": "all"}
    replication_key = "updated_at"
    cursor_param = "since"

    def post_process(self, row: Record, context: Context = None) -> Record:
        """Flag pull requests; dropping them would lose their comments' counterpart."""
        del context
        row["_is_pull_request"] = row.get("pull_request") is not None
        return row


class IssueComments(RepositoryStream):
    """Comments on issues and pull requests."""

    name = "issue_comments"
    path = "/repos/{owner}/{name}/issues/comments"
    params = NEWEST_FIRST
    replication_key = "updated_at"
    cursor_param = "since"


class IssueEvents(RepositoryStream):
    """What happened to issues and pull requests, newest first."""

    name = "issue_events"
    path = "/repos/{owner}/{name}/issues/events"
    replication_key = "created_at"
    sort = "descending"


class Labels(RepositoryStream):
    """Labels."""

    name = "labels"
    path = "/repos/{owner}/{name}/labels"


class Milestones(RepositoryStream):
    """Milestones; few, and sorted by due date only."""

    name = "milestones"
    path = "/repos/{owner}/{name}/milestones"
    params = {**PAGE, "state": "all"}
    replication_key = "updated_at"


# -- releases and people ------------------------------------------------------------------------


class Releases(RepositoryStream):
    """Releases: editing one changes none of its dates, so all are read."""

    name = "releases"
    path = "/repos/{owner}/{name}/releases"


class ReleaseAssets(RepositoryStream):
    """Files of releases: they come within the list of releases, at no request each."""

    name = "release_assets"
    path = "/repos/{owner}/{name}/releases"

    @cached_property
    def reader(self) -> PageReader:
        """Take the assets out of each release."""
        return EmbeddedReader(self, "assets", {"_release_id": "id"})


class Contributors(RepositoryStream):
    """Accounts that committed."""

    name = "contributors"
    path = "/repos/{owner}/{name}/contributors"


class AnonymousContributors(RepositoryStream):
    """Authors without an account: they have no id."""

    name = "anonymous_contributors"
    path = "/repos/{owner}/{name}/contributors"
    params = {**PAGE, "anon": "1"}
    primary_keys = ("_repository_id", "email", "name")

    def post_process(self, row: Record, context: Context = None) -> Record | None:
        """Leave the accounts to `contributors`."""
        del context
        return row if row.get("type") == "Anonymous" else None


class Stargazers(RepositoryStream):
    """Stars with their time, which GitHub tells only when asked in its own media type."""

    name = "stargazers"
    path = "/repos/{owner}/{name}/stargazers"
    headers = {**RepositoryStream.headers, "Accept": "application/vnd.github.star+json"}
    primary_keys = ("_repository_id", "_user_id")
    replication_key = "starred_at"

    def post_process(self, row: Record, context: Context = None) -> Record:
        """Lift the key; without the media type the account is the record."""
        del context
        row["_user_id"] = (row.get("user") or row).get("id")
        return row


# -- actions and deployments --------------------------------------------------------------------


class Workflows(RepositoryStream):
    """Workflows; an old one never changes, so all are read."""

    name = "workflows"
    path = "/repos/{owner}/{name}/actions/workflows"
    records_path = "workflows"


class WorkflowRuns(RepositoryStream):
    """Runs, found by creation because GitHub filters by nothing else, kept by change."""

    name = "workflow_runs"
    path = "/repos/{owner}/{name}/actions/runs"
    records_path = "workflow_runs"
    replication_key = "updated_at"
    paginator = CreatedWindows()

    def __init__(self, tap: ConnectorTap) -> None:
        super().__init__(tap)
        # The lookback is for the filter alone: which runs changed, `updated_at` tells exactly.
        self.rerun_window, self.lookback = self.lookback, timedelta()

    def start_params(self, start: Any, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """A run may be started again for about 30 days after its creation."""
        del context
        return {"created": f">={moved_back(start, self.rerun_window)}"}


class WorkflowJobs(RepositoryStream):
    """Jobs of all attempts of the changed runs."""

    name = "workflow_jobs"
    path = "/repos/{owner}/{name}/actions/runs/{run_id}/jobs"
    records_path = "jobs"
    params = {**PAGE, "filter": "all"}
    parent = WorkflowRuns
    context_from_parent = {"run_id": "id", "workflow_id": "workflow_id"}
    context_fields = {**RepositoryStream.context_fields, "_workflow_id": "workflow_id"}


class Deployments(RepositoryStream):
    """Deployments; the list has neither filter nor order by change."""

    name = "deployments"
    path = "/repos/{owner}/{name}/deployments"
    replication_key = "updated_at"


class DeploymentStatuses(RepositoryStream):
    """Statuses of the changed deployments."""

    name = "deployment_statuses"
    path = "/repos/{owner}/{name}/deployments/{deployment_id}/statuses"
    parent = Deployments
    context_from_parent = {"deployment_id": "id"}
    context_fields = {**RepositoryStream.context_fields, "_deployment_id": "deployment_id"}


# -- security -----------------------------------------------------------------------------------


class DependabotAlerts(RepositoryStream):
    """Alerts about vulnerable dependencies."""

    name = "dependabot_alerts"
    path = "/repos/{owner}/{name}/dependabot/alerts"
    params = NEWEST_FIRST
    primary_keys = ("_repository_id", "number")
    replication_key = "updated_at"
    sort = "descending"


class CodeScanningAlerts(RepositoryStream):
    """Findings of code scanning."""

    name = "code_scanning_alerts"
    path = "/repos/{owner}/{name}/code-scanning/alerts"
    params = NEWEST_FIRST
    primary_keys = ("_repository_id", "number")
    replication_key = "updated_at"
    sort = "descending"


# -- organizations ------------------------------------------------------------------------------


class Members(OrganizationStream):
    """Members of organizations; a stranger sees the public ones only."""

    name = "members"
    path = "/orgs/{organization}/members"


class Teams(OrganizationStream):
    """Teams of organizations."""

    name = "teams"
    path = "/orgs/{organization}/teams"


class TeamMembers(OrganizationStream):
    """Members of teams, those of the teams below included."""

    name = "team_members"
    path = "/orgs/{organization}/teams/{team}/members"
    primary_keys = ("_organization_id", "_team_id", "id")
    parent = Teams
    state_partitioning_keys = ["organization_id", "team_id"]
    context_from_parent = {"team": "slug", "team_id": "id"}
    context_fields = {**OrganizationStream.context_fields, "_team_id": "team_id", "_team": "team"}


STREAMS = (
    Repositories, Branches, Tags, Commits, CheckRuns, PullRequests, PullRequestCommits, Reviews,
    ReviewComments, Issues, IssueComments, IssueEvents, Labels, Milestones, Releases,
    ReleaseAssets, Contributors, AnonymousContributors, Stargazers, Workflows, WorkflowRuns,
    WorkflowJobs, Deployments, DeploymentStatuses, DependabotAlerts, CodeScanningAlerts,
    Organizations, Members, Teams, TeamMembers,
)  # fmt: skip
