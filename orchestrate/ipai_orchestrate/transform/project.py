# SPDX-License-Identifier: Apache-2.0
"""Finds the dbt project and knows, without starting dbt, which models it has.

Starting dbt takes seconds, so a run that has nothing to build should not pay for it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.exceptions import ConfigurationError

_SOURCE_CALL = re.compile(r"\bsource\(\s*'([^']+)'\s*,\s*'([^']+)'\s*\)")
_PROJECT_FOLDERS = ("macros", "models", "tests")


@dataclass(frozen=True)
class Project:
    """The dbt project in one folder."""

    root: Path

    def output(self, label: str) -> Path:
        """Folder of dbt's artifacts for one database: beside the project where that is writable.

        One folder per database keeps partial parsing valid: dbt parses anew when a profile changes.
        """
        configured = os.environ.get("IPAI_TRANSFORM_TARGET")
        if configured:
            return Path(configured).expanduser().resolve() / label
        if os.access(self.root, os.W_OK):
            return self.root / "target" / label
        return home_of().root / "transform" / label

    def models(self) -> dict[str, Path]:
        """Every model by name."""
        return {path.stem: path for path in sorted((self.root / "models").rglob("*.sql"))}

    def sources(self) -> frozenset[tuple[str, str]]:
        """Every (source, Bronze table) that a model reads."""
        return frozenset(
            (found[1], found[2])
            for path in self.models().values()
            for found in _SOURCE_CALL.finditer(path.read_text())
        )

    def fingerprint(self) -> str:
        """Hash of everything that decides what dbt builds."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(f"{path.relative_to(self.root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _files(self) -> Iterable[Path]:
        yield self.root / "dbt_project.yml"
        for folder in _PROJECT_FOLDERS:
            yield from sorted(p for p in (self.root / folder).rglob("*") if p.is_file())


def find_project(environment: Mapping[str, str] | None = None) -> Project:
    """The project named by IPAI_TRANSFORM_DIR, else of the checkout, else the wheel's copy."""
    configured = (os.environ if environment is None else environment).get("IPAI_TRANSFORM_DIR")
    if configured:
        root = Path(configured).expanduser().resolve()
        if not _is_project(root):
            message = (
                f"IPAI_TRANSFORM_DIR has no dbt_project.yml: {str(root)!r}. "
                "Set it to the folder transform/ of the repository."
            )
            raise ConfigurationError(message)
        return Project(root)
    here, work = Path(__file__).resolve(), Path.cwd()
    checkouts = [folder / "transform" for folder in (*here.parents, work, *work.parents)]
    for root in (*checkouts, here.parents[1] / "_transform"):
        if _is_project(root):
            return Project(root)
    message = (
        "The dbt project was not found. Set IPAI_TRANSFORM_DIR to the folder transform/ of the "
        "repository, or start in the repository."
    )
    raise ConfigurationError(message)


def _is_project(folder: Path) -> bool:
    return (folder / "dbt_project.yml").is_file()
