# SPDX-License-Identifier: Apache-2.0
"""What a demo runs on, and how far it has come: a demo that was killed goes on where it was."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ipai_orchestrate.exceptions import ConfigurationError

SOURCE = "github"
SANDBOX_INSTANCE = "github-demo"
TOKEN_VARIABLE = "IPAI_SANDBOX_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_SIZE = 5
# Without a token GitHub answers 60 requests an hour: nothing that asks once per pull request.
FRUGAL_STREAMS = (
    "repositories",
    "branches",
    "tags",
    "pull_requests",
    "issues",
    "labels",
    "milestones",
    "releases",
    "contributors",
    "workflows",
    "workflow_runs",
)


@dataclass(frozen=True)
class DemoPlan:
    """A stand-in of `size` repositories, or one real repository."""

    instance_id: str
    size: int = DEFAULT_SIZE
    repository: str | None = None
    streams: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether it reads the real API."""
        return self.repository is not None


def sandbox_plan(size: int = DEFAULT_SIZE) -> DemoPlan:
    """The demo on the stand-in."""
    return DemoPlan(SANDBOX_INSTANCE, size)


def live_plan(repository: str, api_url: str | None = None) -> DemoPlan:
    """The demo on a real repository, given as owner/name."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        message = f"Repository {repository!r} is not of the form owner/name, e.g. octokit/rest.js."
        raise ConfigurationError(message)
    slug = re.sub(r"[^a-z0-9]+", "-", repository.lower()).strip("-")[:50]
    settings: dict[str, Any] = {"repositories": [repository]}
    if api_url:
        settings["api_url"] = api_url
    has_token = bool(os.environ.get("GITHUB_TOKEN"))
    if has_token:
        settings["auth_token"] = "${GITHUB_TOKEN}"  # noqa: S105 - a reference, resolved later
    else:
        settings["max_wait_seconds"] = 0
    return DemoPlan(
        f"{SOURCE}-live-{slug}",
        repository=repository,
        streams=None if has_token else FRUGAL_STREAMS,
        settings=settings,
    )


@dataclass(frozen=True)
class Bookmark:
    """How far a demo on the stand-in has come."""

    database: str
    size: int
    steps: int = 0
    finished: bool = False


class DemoFile:
    """Keeps the bookmark of the last demo of this installation."""

    def __init__(self, home: Path, dsn: str) -> None:
        self._path = home / "demo.json"
        self._database = hashlib.sha256(dsn.encode()).hexdigest()[:16]

    def resume(self, size: int) -> Bookmark | None:
        """The bookmark of a demo of this kind that was not finished."""
        try:
            found = Bookmark(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        wanted = (found.database, found.size, found.finished) == (self._database, size, False)
        return found if wanted else None

    def begin(self, size: int) -> Bookmark:
        """Start a new one."""
        return self._write(Bookmark(self._database, size))

    def move(self, bookmark: Bookmark, *, steps: int = 1, finished: bool = False) -> Bookmark:
        """Note progress before it is made: a demo killed in between makes it again."""
        return self._write(replace(bookmark, steps=steps, finished=finished))

    def _write(self, bookmark: Bookmark) -> Bookmark:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(asdict(bookmark)), encoding="utf-8")
        unfinished.replace(self._path)
        return bookmark
