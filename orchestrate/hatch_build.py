# SPDX-License-Identifier: Apache-2.0
"""Put the repository's supabase/ into the built package; it is the one truth for migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SupabaseFolder(BuildHookInterface):  # type: ignore[type-arg]
    """Copies supabase/ into wheels and source archives; an editable install reads the original."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what to include, before the build."""
        if version == "editable":
            return
        root = Path(self.root)
        in_archive = root / "supabase"  # building a wheel from an unpacked source archive
        folder = in_archive if in_archive.is_dir() else root.parent / "supabase"
        goal = "supabase" if self.target_name == "sdist" else "ipai_orchestrate/_supabase"
        build_data["force_include"][str(folder)] = goal
