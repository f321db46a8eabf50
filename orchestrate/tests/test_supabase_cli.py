# SPDX-License-Identifier: Apache-2.0
"""The Supabase CLI, where it is installed, takes our migrations for its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ipai_orchestrate.migrations import migrate, migration_status, revert
from ipai_orchestrate.migrations.files import read_migrations, supabase_folder

CLI = os.environ.get("IPAI_SUPABASE_CLI") or shutil.which("supabase")
WHY = "No Supabase CLI: npm install supabase, and set IPAI_SUPABASE_CLI to its program"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CLI, reason=WHY)]


def supabase(project: Path, *arguments: str) -> str:
    """What the CLI says about the project in that folder."""
    command = [str(CLI), *arguments, "--workdir", str(project)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(project), "DO_NOT_TRACK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def versions_of(listed: str) -> list[list[str]]:
    """What each line says is here and in the database."""
    lines = [re.split("[|│]", line) for line in listed.splitlines()]
    cells = [[re.sub(r"\D", "", cell) for cell in line[:2]] for line in lines if len(line) == 3]
    return [both for both in cells if len(both[0]) == 14]


def test_the_cli_lists_what_we_applied_and_applies_what_we_then_know(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    """It speaks TCP alone, hence a loopback address of this test's own."""
    project = tmp_path / "project"
    shutil.copytree(supabase_folder(), project / "supabase")
    versions = [one.version for one in read_migrations(supabase_folder() / "migrations")]
    dsn = serve("127.0.77.5", "127.0.0.0/8")
    at = ["--db-url", "postgresql://postgres:x@127.0.77.5:5432/postgres?sslmode=disable"]

    applied = versions[: len(versions) // 2]
    revert(dsn, applied[-1])
    listed = supabase(project, "migration", "list", *at)
    expected = [[one, one if one in applied else ""] for one in versions]
    assert expected == versions_of(listed), listed

    supabase(project, "db", "push", "--yes", *at)
    assert [[one, one] for one in versions] == versions_of(
        supabase(project, "migration", "list", *at)
    )
    assert migration_status(dsn).pending == ()
    assert migrate(dsn).applied == ()
