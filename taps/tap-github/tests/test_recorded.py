# SPDX-License-Identifier: Apache-2.0
"""Real replies of GitHub, recorded by others, replayed through the tap."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ipai_kit.testing import run_tap, selecting
from ipai_kit.testing.loopback import Answer, Asked, loopback
from tap_github.tap import TapGitHub

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "github"
PUBLIC = "https://api.github.com"
# The recordings stand without what they were made from: names and ids that were blanked out.
BLANKED = {"<GITHUB_LOGIN>": "octo", "<GITHUB_TEST_REPOSITORY>": "tested"}
BLANKED_NUMBER = re.compile(r"<GITHUB_TEST_(?:INTEGRATION(?:_INSTALLATION)?|REPOSITORY_ID)>")
LINKED = re.compile("<([^>]+)>")
# Who owns the recorded lists; these replies themselves were not recorded.
REPOSITORIES = {
    "sferik/rails_admin": 810796,
    "octokit/octokit.rb": 417862,
    "octo/tested": 540180744,
}
ORGANIZATIONS = {"codeforamerica": 337792}
STREAMS = {
    "commits": "commits",
    "deployments": "deployments",
    "members": "org_members",
    "pull_requests": "pulls_open",
    "stargazers": "stargazers",
    "tags": "tags",
    "workflow_runs": "workflow_runs_paged",
}

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not RECORDINGS.is_dir(), reason="The shared test data does not lie beside the checkout."
    ),
]


@dataclass(frozen=True)
class Recording:
    """One recorded reply."""

    path: str
    query: frozenset[tuple[str, str]]
    link: str
    body: bytes

    def records(self) -> list[dict[str, Any]]:
        found = json.loads(self.body)
        return found if isinstance(found, list) else found["workflow_runs"]


def filled(text: str) -> str:
    """A recording with something in its blanks, so that it is JSON again."""
    for blank, name in BLANKED.items():
        text = text.replace(blank, name)
    return BLANKED_NUMBER.sub("7", text)


def recordings(name: str) -> Iterator[Recording]:
    cassette = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    for one in cassette["http_interactions"]:
        url = urlsplit(filled(one["request"]["uri"]))
        body = base64.b64decode(one["response"]["body"]["base64_string"]).decode()
        yield Recording(
            path=url.path,
            query=frozenset(parse_qsl(url.query)),
            link=filled(", ".join(one["response"]["headers"].get("Link", []))),
            body=filled(body).encode(),
        )


class Replay:
    """Answers as recorded; counts what was asked for, and what was asked beyond the recordings."""

    def __init__(self) -> None:
        self.url = ""
        self.known = [one for name in STREAMS.values() for one in recordings(name)]
        # Where the recorded links lead; the pages behind them were not recorded: they are empty.
        self.linked = {urlsplit(url).path for one in self.known for url in LINKED.findall(one.link)}
        self.consumed: Counter[Recording] = Counter()
        self.beyond: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        if (made_up := self.owner(asked.path)) is not None:
            return Answer(made_up)
        found = self.find(asked.path, asked.query)
        if found is None:
            self.beyond[asked.path] += 1
            return Answer([]) if asked.path in self.linked else Answer({}, 404)
        self.consumed[found] += 1
        link = found.link.replace(PUBLIC, self.url)
        return Answer(found.body, headers={"link": link} if link else {})

    def find(self, path: str, query: Mapping[str, str]) -> Recording | None:
        """The same question; for a first page the tap asks more precisely than was recorded."""
        here = [one for one in self.known if one.path == path]
        exact = [one for one in here if one.query == frozenset(query.items())]
        first = [one for one in here if "page" not in dict(one.query) and "page" not in query]
        return next(iter(exact or first), None)

    def owner(self, path: str) -> dict[str, Any] | None:
        kind, _, name = path.strip("/").partition("/")
        if kind == "repos" and name in REPOSITORIES:
            login, _, short = name.partition("/")
            owner = {"login": login}
            about = {"name": short, "full_name": name, "owner": owner, "archived": False}
            return {"id": REPOSITORIES[name], **about}
        if kind == "orgs" and name in ORGANIZATIONS:
            return {"id": ORGANIZATIONS[name], "login": name}
        return None


def test_recorded_replies_land_with_every_field() -> None:
    replay = Replay()
    with loopback(replay) as server:
        replay.url = server.url
        config = {
            "api_url": server.url,
            "repositories": list(REPOSITORIES),
            "organizations": list(ORGANIZATIONS),
            "requests_per_second": 500,
        }
        catalog = selecting(TapGitHub(config=config).catalog_dict, list(STREAMS))
        run = run_tap(TapGitHub, config, catalog=catalog)

    assert set(replay.consumed) == set(replay.known)
    assert set(replay.consumed.values()) == {1}
    for stream, name in STREAMS.items():
        sent = [record for one in recordings(name) for record in one.records()]
        landed = [
            {field: value for field, value in record.items() if field in sent[0] or field[0] != "_"}
            for record in run.records[stream]
        ]
        assert landed == sent, stream
        keys = run.schemas[stream]["key_properties"]
        assert all(record[key] is not None for record in run.records[stream] for key in keys)


def test_pages_recorded_under_another_path_are_followed() -> None:
    """A real reply to /repos/{owner}/{name} links to /repositories/{id}."""
    first, *others = recordings("workflow_runs_paged")

    assert first.path == "/repos/octo/tested/actions/runs"
    assert {one.path for one in others} == {"/repositories/540180744/actions/runs"}
