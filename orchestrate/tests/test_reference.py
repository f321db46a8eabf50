# SPDX-License-Identifier: Apache-2.0
"""docs/reference/control-plane.md says what the database says about itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import failure
from ipai_orchestrate.cli.db import db_command
from ipai_orchestrate.control_plane.reference import render_reference
from ipai_orchestrate.migrations.files import supabase_folder

Connection = psycopg.Connection[tuple[Any, ...]]
PAGE = supabase_folder().parent / "docs" / "reference" / "control-plane.md"


def test_the_reference_is_up_to_date(connection: Connection) -> None:
    written, hint = PAGE.read_text(encoding="utf-8"), "ipai db reference > docs/reference/…"
    assert written == render_reference(connection), f"Write it anew: {hint}"


def test_it_shows_what_roles_may_call_and_read_and_nothing_internal(
    connection: Connection,
) -> None:
    text = render_reference(connection)

    assert "### claim_connector_job\n" in text
    assert "    lease_seconds integer default 60,\n    run_id uuid default null,\n" in text
    assert "May call it: ipai_worker, service_role." in text
    assert "| `connector_queue` (view) | Queued runs and what each waits for" in text
    assert "take_quota_share" not in text


def test_the_command_prints_it_and_tells_an_old_file(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    page = tmp_path / "page.md"
    printed = CliRunner().invoke(db_command, ["reference"], standalone_mode=False)
    page.write_text(printed.output, encoding="utf-8")
    assert printed.output.startswith("# The control plane in SQL\n")

    checked = CliRunner().invoke(
        db_command, ["reference", "--check", str(page)], standalone_mode=False
    )
    assert (checked.return_value, checked.output) == (0, "")
    page.write_text("something else", encoding="utf-8")
    checked = CliRunner().invoke(
        db_command, ["reference", "--check", str(page)], standalone_mode=False
    )
    assert checked.return_value == 1
    assert "is out of date. Write it anew: ipai db reference >" in checked.output


def test_hints_of_the_database_are_commands_on_the_command_line() -> None:
    # Said to programs alone: a worker's protocol, a reviewer's report.
    programs = {"request_secret", "layer_tables", "store_oauth_grant"}
    texts = [file.read_text("utf-8") for file in (supabase_folder() / "migrations").glob("*.sql")]
    hints = [hint for text in texts for hint in re.findall(r"hint = (?:format\()?'([^']*)", text)]
    calls = {call for hint in hints for call in re.findall(r"\b[a-z_]+\([a-z_, ]*\)", hint)}

    assert calls
    left = {call.partition("(")[0] for call in calls if call not in failure._COMMANDS}
    assert left <= programs
