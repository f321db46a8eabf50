# SPDX-License-Identifier: Apache-2.0
"""The made-up GitHub: organizations, people and repositories, and the passing of time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ipai_kit.sandbox import EPOCH, Seeded
from tap_github.sandbox.author import IDS_PER_REPOSITORY, WORDS, Author, Sizes
from tap_github.sandbox.changes import change_repository
from tap_github.sandbox.facts import Account, Organization, Repository, Team
from tap_github.sandbox.history import write_history

ORGANIZATION = "octo-sandbox"
USER = "mona-sandbox"
PEOPLE = (
    "ada", "grace", "linus", "margaret", "dennis", "barbara", "ken", "radia", "edsger", "frances",
    "alan", "hedy", "donald", "joan", "tim", "karen",
)  # fmt: skip
LANGUAGES = ("Python", "TypeScript", "Go", "SQL", "Ruby")


@dataclass(frozen=True, slots=True)
class Settings:
    """Size and span of the world."""

    repos: int = 5
    specials: bool = True
    days: int = 180
    sizes: Sizes = field(default_factory=Sizes)


class GitHub:
    """All repositories, in the order of their ids."""

    def __init__(self, seed: int, settings: Settings) -> None:
        self._seeded = Seeded(seed)
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Back to the first moment."""
        self.start: datetime = EPOCH + timedelta(days=366)
        self.now = self.start + timedelta(days=self._settings.days)
        self.step = 0
        self.version = 0
        people = [Account(1000 + place * 37, login) for place, login in enumerate(PEOPLE)]
        self.organization = self._organization(people)
        self._authors: dict[int, Author] = {}
        self._names: dict[str, Repository] = {}
        for repository in self._repositories(people):
            for name in (repository.name, *repository.former_names):
                self._names[f"{repository.owner.login}/{name}".lower()] = repository

    # -- looking things up ------------------------------------------------------------------

    @property
    def repositories(self) -> list[Repository]:
        """All that can be listed."""
        return [author.repository for author in self._authors.values()]

    def by_id(self, number: int) -> Repository | None:
        """The repository of that id."""
        author = self._authors.get(number)
        return author.repository if author else None

    def by_name(self, full_name: str) -> Repository | None:
        """The repository that has or had that name."""
        return self._names.get(full_name.lower())

    # -- passing of time --------------------------------------------------------------------

    def advance(self, steps: int) -> Mapping[str, Any]:
        """Let hours pass; every repository that is worked on changes."""
        total: Counter[str] = Counter()
        for _ in range(steps):
            self.step += 1
            self.now += timedelta(hours=1)
            for author in self._authors.values():
                repository = author.repository
                if repository.commits and not repository.archived:
                    author.now = self.now
                    total += change_repository(author, self.step)
        self.version += 1
        return {"steps": steps, "now": self.now.isoformat(), "changed": dict(sorted(total.items()))}

    # -- making it up -----------------------------------------------------------------------

    def _organization(self, people: list[Account]) -> Organization:
        teams = [
            Team(501, "core", people[:4]),
            Team(502, "reviewers", people[2:8]),
            Team(503, "quiet", []),
        ]
        account = Account(90, ORGANIZATION, "Organization")
        return Organization(account, people[:12], teams, self.start, self.start)

    def _repositories(self, people: list[Account]) -> Iterator[Repository]:
        for number in range(1, self._settings.repos + 1):
            name = f"{self._seeded.choice(WORDS, 'repository', number)}-{number}"
            yield self._write(number, self.organization.account, name, people)
        if self._settings.specials:
            yield from self._specials(self._settings.repos + 1, people)

    def _specials(self, first: int, people: list[Account]) -> Iterator[Repository]:
        """Repositories that answer otherwise than a tap would like."""
        owner = self.organization.account
        numbers = itertools.count(first)
        yield self._write(next(numbers), owner, "empty", people, written=False)
        yield self._write(next(numbers), owner, "archived", people, archived=True)
        yield self._write(next(numbers), owner, "renamed", people, former_names=("old-name",))
        yield self._write(next(numbers), owner, "no-issues", people, has_issues=False)  # 410
        yield self._write(next(numbers), owner, "private", people, private=True)
        yield self._write(next(numbers), Account(91, USER), "dotfiles", people)

    def _write(
        self,
        number: int,
        owner: Account,
        name: str,
        people: list[Account],
        *,
        written: bool = True,
        **special: Any,
    ) -> Repository:
        repository = Repository(
            id=700_000 + number,
            owner=owner,
            name=name,
            description=f"All about {name}.",
            language=self._seeded.choice(LANGUAGES, number),
            created_at=self.start - timedelta(days=30),
            pushed_at=self.start,
            updated_at=self.start,
            first_push=self.start,
            **special,
        )
        sizes = self._settings.sizes
        first_id = 3_000_000_000 + number * IDS_PER_REPOSITORY
        author = Author(
            draw=self._seeded,
            repository=repository,
            people=people,
            sizes=sizes if repository.has_issues else replace(sizes, issues=0),
            start=self.start,
            now=self.now,
            ids=itertools.count(first_id),
            event_ids=itertools.count(first_id + IDS_PER_REPOSITORY // 2),
        )
        self._authors[repository.id] = author
        if written:
            write_history(author)
        return repository
