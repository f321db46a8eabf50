# SPDX-License-Identifier: Apache-2.0
"""Put the repository's supabase/ and transform/ into the built package; there is one truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Of transform/ only what dbt reads: a checkout also holds artifacts of its runs there.
_PARTS = ("supabase", *(f"transform/{name}" for name in ("macros", "models", "tests")))
_PARTS += ("transform/dbt_project.yml", "transform/profiles.yml")


class RepositoryFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Copies them into wheels and source archives; an editable install reads the originals."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what to include, before the build."""
        if version == "editable":
            return
        root = Path(self.root)
        # Inside the root when a wheel is built from an unpacked source archive.
        origin = root if (root / "supabase").is_dir() else root.parent
        prefix = "" if self.target_name == "sdist" else "ipai_orchestrate/_"
        for part in _PARTS:
            build_data["force_include"][str(origin / part)] = f"{prefix}{part}"
