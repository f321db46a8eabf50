# SPDX-License-Identifier: Apache-2.0
"""A database that a real Odoo 18 made, and, where one is given, a running server above its own.

IPAI_TEST_ODOO holds settings of both ways as JSON: database_url, url, database, login, password.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_kit.testing import TapRun, run_tap
from tap_odoo.tap import TapOdoo

DUMP = Path(__file__).parents[4] / "shared/data/odoo18-demo.dump"
GIVEN = json.loads(os.environ.get("IPAI_TEST_ODOO", "{}"))
# What the API hides from a user who is not in some group, or who does not own the record.
HIDDEN = {"project_project": {"stage_id"}}
OF_SOMEBODY = {"project_task", "project_task_type"}
FAST = {"requests_per_second": 500}


def landed(run: TapRun, stream: str) -> dict[int, dict[str, Any]]:
    return {one["id"]: one for one in run.records[stream]}


# -- the demo database --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(server: Any) -> Iterator[str]:
    """The restored database; its URL."""
    restore = shutil.which("pg_restore", path=str(server.binaries)) or shutil.which("pg_restore")
    if not DUMP.exists() or restore is None:
        pytest.skip("The dump of the demo database, or pg_restore, is not here.")
    with server.new_database() as name:
        command = [restore, "--no-owner", "--dbname", server.dsn(name), str(DUMP)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "unsupported version" in done.stderr:
            pytest.skip("pg_restore is older than the dump.")
        yield server.url(name)


@pytest.fixture(scope="module")
def run(demo: str) -> TapRun:
    return run_tap(TapOdoo, {"database_url": demo})


@pytest.mark.shared
def test_every_record_of_the_demo_database_arrives(demo: str, run: TapRun) -> None:
    with psycopg.connect(demo) as connection:
        for stream, records in run.records.items():
            if stream == "account_invoice":
                continue
            (count,) = connection.execute(f"select count(*) from {stream}".encode()).fetchone() or (
                -1,
            )
            assert count == len(records), stream


@pytest.mark.shared
def test_amounts_keep_every_digit_and_entries_balance(demo: str, run: TapRun) -> None:
    lines = run.records["account_move_line"]
    with psycopg.connect(demo) as connection:
        rows = connection.execute("select id, balance, price_unit from account_move_line")
        wanted = {row[0]: row[1:] for row in rows.fetchall()}

    found = {one["id"]: (Decimal(one["balance"]), Decimal(one["price_unit"])) for one in lines}
    assert found == {key: tuple(each or Decimal(0) for each in row) for key, row in wanted.items()}
    for move in {one["move_id"] for one in lines}:
        assert sum(Decimal(one["balance"]) for one in lines if one["move_id"] == move) == 0


@pytest.mark.shared
def test_accounts_have_their_codes_by_company(demo: str, run: TapRun) -> None:
    with psycopg.connect(demo) as connection:
        rows = connection.execute("select id, code_store from account_account").fetchall()

    found = landed(run, "account_account")
    for number, codes in rows:
        assert codes == found[number]["code_by_company"]
        assert found[number]["code"] in codes.values()
        assert found[number]["company_ids"] == [int(key) for key in codes]


@pytest.mark.shared
def test_modules_that_the_demo_lacks_are_no_streams(run: TapRun) -> None:
    assert {"purchase_order", "hr_employee", "crm_lead"}.isdisjoint(run.schemas)


@pytest.mark.shared
def test_records_fit_the_schema_that_comes_with_them(run: TapRun) -> None:
    import jsonschema

    for stream, message in run.schemas.items():
        validator = jsonschema.Draft7Validator(message["schema"])
        for record in run.records[stream]:
            assert not list(validator.iter_errors(record)), (stream, record["id"])


# -- a server that is given ---------------------------------------------------------------------


@pytest.mark.skipif(not GIVEN, reason="IPAI_TEST_ODOO names no server.")
@pytest.mark.parametrize(
    "scope", [{}, {"language": "fr_FR", "company_id": 2}, {"company_ids": [2]}], ids=str
)
def test_both_ways_to_a_real_server_give_the_same_records(scope: dict[str, Any]) -> None:
    by_tables = run_tap(TapOdoo, {**GIVEN, "transport": "postgres", **scope})
    by_api = run_tap(TapOdoo, {**GIVEN, **FAST, "transport": "api", **scope})

    assert set(by_tables.schemas) == set(by_api.schemas)
    for stream in by_tables.schemas:
        ours, theirs = landed(by_tables, stream), landed(by_api, stream)
        assert set(theirs) <= set(ours)
        assert set(ours) == set(theirs) or stream in OF_SOMEBODY, stream
        hidden = HIDDEN.get(stream, set()) | _links_of_others(by_tables, stream, scope)
        for number, record in theirs.items():
            wanted = {name: ours[number][name] for name in record if name not in hidden}
            given = {name: record[name] for name in record if name not in hidden}
            assert wanted == given, (stream, number)


def _links_of_others(run: TapRun, stream: str, scope: dict[str, Any]) -> set[str]:
    """Within some companies the API leaves out links to records of the others."""
    if "company_ids" not in scope:
        return set()
    properties = run.schemas[stream]["schema"]["properties"]
    return {name for name, about in properties.items() if "array" in about["type"]}
