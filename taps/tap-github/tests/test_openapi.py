# SPDX-License-Identifier: Apache-2.0
"""GitHub's own description is the referee between the tap's requests and the sandbox's replies."""

import functools
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jsonschema
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipai_kit.testing import run_tap, running_sandbox, selecting
from tap_github.sandbox import NARROW_TOKEN, ORGANIZATION, USER, create_app
from tap_github.tap import TapGitHub

PACKAGE = "@octokit/openapi@23.0.2"
DOCUMENT = "package/generated/api.github.com.json"
SAMPLES = 2
# What GitHub answers and its description leaves out.
UNDOCUMENTED = {
    ("/repos/{owner}/{repo}", 451),  # blocked for legal reasons
    ("/repos/{owner}/{repo}/issues", 410),  # described for one issue only
    ("/orgs/{org}/teams", 401),
    ("/repos/{owner}/{repo}/code-scanning/alerts", 401),
    ("/repos/{owner}/{repo}/dependabot/alerts", 401),
}
MOVED = (
    (re.compile(r"^/repositories/\d+"), "/repos/o/r"),
    (re.compile(r"^/organizations/\d+"), "/orgs/o"),
    (re.compile(r"^/user/\d+"), "/users/u"),
)


class Recorder:
    """Keeps every request and its reply."""

    def __init__(self, app: ASGIApp, seen: list[dict[str, Any]]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = dict(parse_qsl(scope["query_string"].decode()))
        record = {"path": scope["path"], "query": query, "body": b"", "method": scope["method"]}

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record["status"] = message["status"]
            record["body"] += message.get("body", b"")
            await send(message)

        await self._app(scope, receive, note)
        self._seen.append(record)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ipai-tests"


def fetched() -> Path:
    """The description, from the cache or from the registry; the test is skipped without either."""
    folder = cache_folder()
    found = folder / f"{PACKAGE.replace('/', '-')}.json"
    if found.exists():
        return found
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: GitHub's API description cannot be fetched.")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-200:]}")
    archive = folder / done.stdout.split()[-1]
    with tarfile.open(archive) as files:
        member = files.extractfile(DOCUMENT)
        assert member is not None
        waiting = found.with_suffix(f".{os.getpid()}")
        waiting.write_bytes(member.read())
    waiting.rename(found)
    archive.unlink()
    return found


class Description:
    """GitHub's OpenAPI document as something to check against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._paths = {
            re.compile("^" + re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"): path
            for path in sorted(document["paths"], key=lambda one: one.count("{"))
        }
        self._components = nullable(document["components"])

    def path_of(self, path: str) -> str | None:
        """The template that describes a path; addresses by id stand for those by name."""
        for pattern, name in MOVED:
            path = pattern.sub(name, path)
        return next((known for one, known in self._paths.items() if one.match(path)), None)

    def operation(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._document["paths"][path]["get"]
        return found

    def query_problems(self, path: str, query: Mapping[str, str]) -> Iterator[str]:
        known = {
            one["name"]: one.get("schema", {})
            for one in map(self._resolved, self.operation(path).get("parameters", ()))
        }
        for name, value in query.items():
            if name not in known:
                yield f"{path}: parameter {name!r} is unknown"
            elif (choices := self._resolved(known[name]).get("enum")) and value not in choices:
                yield f"{path}: {name}={value!r} is none of {choices}"

    @functools.cache  # noqa: B019 -- lives as long as the module's fixture
    def validator(self, path: str, status: int) -> Any:
        """What checks a reply's body; None where no body is described."""
        responses = self.operation(path)["responses"]
        if str(status) not in responses:
            return None
        content = self._resolved(responses[str(status)]).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        root = {**nullable(schema or {}), "components": self._components}
        return jsonschema.Draft4Validator(root, format_checker=formats)

    def describes(self, path: str, status: int) -> bool:
        return str(status) in self.operation(path)["responses"]

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in value:
            here: Any = self._document
            for name in value["$ref"].split("/")[1:]:
                here = here[name]
            value = here
        return value

    def fields(self, path: str, envelope: str | None) -> set[str]:
        """The names of a record's fields."""
        responses = self.operation(path)["responses"]["200"]
        schema = self._resolved(responses)["content"]["application/json"]["schema"]
        schema = self._resolved(schema)
        if envelope:
            schema = self._resolved(schema["properties"][envelope])
        return set(self._resolved(schema.get("items", schema))["properties"])


formats = jsonschema.FormatChecker(formats=())
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


@formats.checks("date-time")
def is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_TIME.match(value))


def nullable(schema: Any) -> Any:
    """OpenAPI 3.0 says `nullable`, JSON Schema lists the type null."""
    if isinstance(schema, list):
        return [nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: nullable(value) for name, value in schema.items() if name != "example"}
    if found.pop("nullable", None) is not True:
        return found
    return {"anyOf": [{"enum": [None]}, found]}


@pytest.fixture(scope="module")
def description() -> Description:
    return Description(json.loads(fetched().read_text("utf-8")))


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    """All that passes when the tap reads everything in every way it can."""
    passed: list[dict[str, Any]] = []
    app = create_app(
        repos=2, issues_per_repo=8, pulls_per_repo=8, commits_per_repo=10, runs_per_repo=12
    )
    app.add_middleware(Recorder, seen=passed)
    names = ["old-name", "blocked", "nowhere", "private"]
    ways: list[dict[str, Any]] = [
        {"organizations": [ORGANIZATION], "users": [USER]},
        {"repositories": [f"{ORGANIZATION}/{name}" for name in names]},
        {"search": [f"org:{ORGANIZATION} topic:sandbox"], "auth_token": NARROW_TOKEN},
        {"organizations": [ORGANIZATION], "auth_token": None},
    ]
    with running_sandbox(app) as url:
        for way in ways:
            config = {"api_url": url, "auth_token": "sandbox-token", **way}
            config |= {"requests_per_second": 500, "max_wait_seconds": 0}
            settings = {name: value for name, value in config.items() if value is not None}
            catalog = selecting(TapGitHub(config=settings).catalog_dict, None)
            if way.get("auth_token", "") is None:  # strangers have sixty requests
                chosen = ("members", "teams", "organizations")
                catalog = selecting(TapGitHub(config=settings).catalog_dict, chosen)
            state = run_tap(TapGitHub, settings, catalog=catalog).state
            url.advance(1)
            if "organizations" in way:
                run_tap(TapGitHub, settings, catalog=catalog, state=state)
    return [one for one in passed if not one["path"].startswith("/_sandbox")]


def test_every_request_is_one_that_github_describes(
    description: Description, seen: list[dict[str, Any]]
) -> None:
    problems = set()
    for one in seen:
        path = description.path_of(one["path"])
        if path is None:
            problems.add(f"no such path: {one['path']}")
        else:
            problems.update(description.query_problems(path, one["query"]))

    assert problems == set()


def test_every_reply_is_valid_by_githubs_description(
    description: Description, seen: list[dict[str, Any]]
) -> None:
    """A sample of each kind: checking all of them would take minutes."""
    problems: dict[str, str] = {}
    checked: dict[tuple[str, int], int] = {}
    for one in sorted(seen, key=lambda each: -len(each["body"])):
        path, status = description.path_of(one["path"]), one["status"]
        assert path is not None
        checked[path, status] = checked.get((path, status), 0) + 1
        if checked[path, status] > SAMPLES or (path, status) in UNDOCUMENTED or status == 304:
            continue
        if not description.describes(path, status):
            problems[f"{path} {status}"] = "this status is not described"
        elif one["body"] and (checker := description.validator(path, status)):
            error = next(checker.iter_errors(json.loads(one["body"])), None)
            if error is not None:
                best = jsonschema.exceptions.best_match([error])
                problems[f"{path} {status}"] = f"{best.json_path}: {best.message[:300]}"

    assert problems == {}
    assert len({path for path, status in checked if status == 200}) >= 30
    assert {status for _, status in checked} >= {200, 301, 304, 401, 403, 404, 409, 410, 451}


def test_the_referee_sees_a_wrong_reply(
    description: Description, seen: list[dict[str, Any]]
) -> None:
    labels = next(json.loads(one["body"]) for one in seen if one["path"].endswith("/labels"))
    checker = description.validator("/repos/{owner}/{repo}/labels", 200)
    broken = [{**labels[0], "id": "7"}, {**labels[0], "color": None}, {"id": 7}]

    assert [checker.is_valid([one]) for one in [labels[0], *broken]] == [True, False, False, False]


def test_schemas_name_every_field_that_github_describes(description: Description) -> None:
    """New fields pass through unnamed; this tells when there are some to name."""
    unnamed = {}
    tap = TapGitHub(config={})
    for stream in tap.streams.values():
        template = getattr(stream, "path", "") or "/repos/{owner}/{name}"
        if stream.name in ("anonymous_contributors", "release_assets", "stargazers"):
            continue  # one has no description; the others are described inside another record
        path = description.path_of(re.sub(r"\{[^}]+\}", "x", template))
        assert path is not None
        named = set(stream.schema["properties"])
        missing = description.fields(path, getattr(stream, "records_path", None)) - named
        if missing - {"starred_at"}:
            unnamed[stream.name] = missing

    assert unnamed == {}
