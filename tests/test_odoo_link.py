# SPDX-License-Identifier: Apache-2.0
"""Gold read in a second database, Odoo's, by the scripts that `ipai odoo link` writes."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_kit.testing.postgres import PostgresServer, postgres_binaries, running_postgres
from ipai_orchestrate.cli import main
from ipai_orchestrate.migrations import migrate
from ipai_orchestrate.transform import run_dbt

WITH_FDW = [
    binaries
    for binaries in postgres_binaries()
    if (binaries.parent / "lib/postgres_fdw.so").exists() and (binaries / "psql").exists()
]
PASSWORD = secrets.token_hex(16)
BRONZE = """
    create table ipai_bronze_erp.raw_odoo_{stream} (
        instance_id text not null, record_key text not null, record jsonb not null,
        emitted_at timestamptz not null default now(), source text not null default 'odoo',
        stream text not null default '{stream}', cursor text, run_id text,
        loaded_at timestamptz not null default now(), deleted_at timestamptz,
        primary key (instance_id, record_key))
"""
ROWS: dict[str, list[dict[str, Any]]] = {
    "res_company": [{"id": 1, "name": "Harbour", "currency_id": 1}],
    "res_currency": [{"id": 1, "name": "USD"}],
    "account_account": [
        {"id": 1, "code": "1000", "name": "Bank", "account_type": "asset_cash"},
        {"id": 2, "code": "3000", "name": "Capital", "account_type": "equity"},
    ],
    "account_move_line": [
        {
            "id": number,
            "move_id": 1,
            "date": "2025-01-01",
            "parent_state": "posted",
            "company_id": 1,
            "account_id": account,
            "debit": debit,
            "credit": credit,
            "balance": balance,
        }
        for number, account, debit, credit, balance in (
            (1, 1, "12.30", "0", "12.30"),
            (2, 2, "0", "12.30", "-12.30"),
        )
    ],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WITH_FDW, reason="needs a PostgreSQL with postgres_fdw and psql"),
]


@dataclass
class Linked:
    """A server with a warehouse, built by an ordinary role, and Odoo's database."""

    server: PostgresServer
    scripts: Path
    port: int

    @property
    def warehouse(self) -> str:
        """As dbt's role."""
        return self.server.url("warehouse", "builder")

    def as_odoo(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.dsn("odoo", "odoo")) as connection:
            return connection.execute(query).fetchall()

    def as_reader(self, query: str) -> list[tuple[Any, ...]]:
        """Straight into the warehouse, with the password Odoo has."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname="warehouse",
            user="ipai_odoo_reader",
            password=PASSWORD,
        ) as connection:
            return connection.execute(query).fetchall()

    def psql(self, script: str, dsn: str, password: str | None = PASSWORD) -> str:
        """Run a script; return what went wrong, or nothing."""
        environment = {name: os.environ[name] for name in ("PATH", "PGPORT")}
        if password:
            environment["IPAI_ODOO_READER_PASSWORD"] = password
        command = [str(WITH_FDW[0] / "psql"), "-Xq", "-f", str(self.scripts / script), dsn]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for stream, records in ROWS.items():
            connection.execute(BRONZE.format(stream=stream).encode())
            connection.cursor().executemany(
                f"insert into ipai_bronze_erp.raw_odoo_{stream} (instance_id, record_key, record)"
                " values ('one', %s, %s)".encode(),
                [(json.dumps([record["id"]]), json.dumps(record)) for record in records],
            )


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    """Both scripts have run; connections over TCP must show a password."""
    scripts, port = tmp_path_factory.mktemp("link"), free_port()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("IPAI_TRANSFORM_TARGET", str(tmp_path_factory.mktemp("dbt")))
        patch.setenv("PGPORT", str(port))  # the socket's name ends in it
        addresses = {"listen_addresses": "127.0.0.1", "port": str(port)}
        server = stack.enter_context(running_postgres(WITH_FDW[0], **addresses))
        rules = server.data / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")
            connection.execute("create role builder login createrole")
            connection.execute("create role odoo login")
            connection.execute("create database warehouse owner builder")
            connection.execute("create database odoo owner odoo")
        both = Linked(server, scripts, port)
        migrate(both.warehouse)
        fill(both.warehouse)
        result = run_dbt(both.warehouse, select=["@path:models/silver/odoo"])
        assert result.ok, result.summary()
        place = ["--host", "127.0.0.1", "--port", str(port), "--database", "warehouse"]
        written = CliRunner().invoke(main, ["odoo", "link", *place, "--output", str(scripts)])
        assert written.exit_code == 0, written.output
        assert both.psql("warehouse.sql", both.warehouse) == ""
        assert both.psql("odoo.sql", server.url("odoo")) == ""
        yield both


@pytest.fixture(autouse=True)
def _port(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq finds the socket by the port."""
    monkeypatch.setenv("PGPORT", str(linked.port))


def test_odoo_reads_what_gold_says(linked: Linked) -> None:
    ledger = "select account, amount from {}.gold_finance_general_ledger order by posting_id"
    with psycopg.connect(linked.warehouse) as connection:
        expected = connection.execute(ledger.format("ipai_gold_erp").encode()).fetchall()

    assert len(expected) == 2
    assert linked.as_odoo(ledger.format("ipai_gold")) == expected
    assert linked.as_odoo(
        "select amount from ipai_gold.gold_finance_balance_sheet "
        "where side = 'asset' and period_end = '2025-01-31'"
    ) == [(expected[0][1],)]
    assert linked.as_odoo("select count(*) > 30 from ipai_gold.gold_freshness") == [(True,)]


def test_conditions_are_left_to_the_warehouse(linked: Linked) -> None:
    plan = linked.as_odoo(
        "explain (verbose) select amount from ipai_gold.gold_finance_general_ledger "
        "where company_id = 1 and posted_on > '2025-01-01'"
    )

    [remote] = [row[0] for row in plan if "Remote SQL" in row[0]]
    assert "(company_id = 1)" in remote
    assert "(posted_on > '2025-01-01'" in remote


def test_odoo_s_role_reads_gold_and_nothing_else(linked: Linked) -> None:
    tables = (
        "ipai_silver_erp.odoo_journal_items",
        "ipai_bronze_erp.raw_odoo_account_move_line",
        "connectors.connector_instances",
    )

    assert linked.as_reader("select count(*) from ipai_gold_erp.gold_finance_trial_balance")
    for table in tables:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            linked.as_reader(f"select * from {table}")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        linked.as_reader("create table ipai_gold_erp.mine ()")
    with pytest.raises(psycopg.Error, match="does not allow"):
        linked.as_odoo("insert into ipai_gold.gold_finance_cashflow (amount) values (1)")


def test_the_link_survives_dbt_putting_new_views_and_tables_in_place(linked: Linked) -> None:
    select = ["odoo_partners+"]
    counted = "select count(*) from ipai_gold.gold_finance_general_ledger"
    oid = "select 'ipai_gold_erp.gold_finance_general_ledger'::regclass::oid"
    with psycopg.connect(linked.warehouse) as connection:
        before = connection.execute(oid.encode()).fetchone()
    result = run_dbt(linked.warehouse, select=select, full_refresh=True)
    with psycopg.connect(linked.warehouse) as connection:
        after = connection.execute(oid.encode()).fetchone()

    assert result.ok, result.summary()
    assert before != after
    assert linked.as_odoo(counted) == [(2,)]


def test_changed_columns_arrive_in_one_transaction_and_what_stays_keeps_its_views(
    linked: Linked,
) -> None:
    view = "ipai_gold_erp.gold_finance_cashflow"
    with psycopg.connect(linked.server.dsn("odoo", "odoo")) as odoo:
        odoo.execute(
            "create view report as select account, amount from ipai_gold.gold_finance_balance_sheet"
        )

    assert linked.as_odoo("select * from ipai_gold.refresh()") == []

    with psycopg.connect(linked.warehouse) as connection:
        connection.execute(f"drop view {view}".encode())
        connection.execute(f"create view {view} as select 1 as amount, 2 as more".encode())
        connection.execute(b"create view ipai_gold_erp.gold_erp_new as select 3 as three")
        connection.execute(b"drop view ipai_gold_erp.gold_retail_inventory")

    assert linked.as_odoo("select * from ipai_gold.refresh()") == [
        ("gold_erp_new", "added"),
        ("gold_finance_cashflow", "changed"),
        ("gold_retail_inventory", "removed"),
    ]
    assert linked.as_odoo("select more from ipai_gold.gold_finance_cashflow") == [(2,)]
    assert len(linked.as_odoo("select * from report")) > 0


def test_a_view_that_is_in_use_is_not_taken_away(linked: Linked) -> None:
    with psycopg.connect(linked.server.dsn("odoo", "odoo")) as odoo:
        odoo.execute("create view stands as select partner from ipai_gold.gold_finance_ar_aging")
    with psycopg.connect(linked.warehouse) as connection:
        connection.execute(b"drop view ipai_gold_erp.gold_finance_ar_aging")

    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="stands"):
        linked.as_odoo("select * from ipai_gold.refresh()")
    assert linked.as_odoo(
        "select count(*) from pg_class where relnamespace = 'ipai_gold_incoming'::regnamespace"
    ) == [(0,)]


def test_the_scripts_may_run_again_with_another_password(linked: Linked) -> None:
    with psycopg.connect(linked.server.dsn("odoo", "odoo")) as odoo:
        odoo.execute("drop view if exists stands")

    assert linked.psql("warehouse.sql", linked.warehouse, "another") == ""
    with pytest.raises(psycopg.errors.SqlclientUnableToEstablishSqlconnection):
        linked.as_odoo("select count(*) from ipai_gold.gold_finance_general_ledger")
    assert linked.psql("odoo.sql", linked.server.url("odoo"), "another") == ""
    assert linked.as_odoo("select count(*) from ipai_gold.gold_finance_general_ledger") == [(2,)]


def test_the_wrong_role_and_a_missing_password_are_refused(linked: Linked) -> None:
    assert "Gold belongs to builder, and this is postgres." in linked.psql(
        "warehouse.sql", linked.server.url("warehouse")
    )
    for script in ("warehouse.sql", "odoo.sql"):
        refused = linked.psql(script, linked.warehouse, None)
        assert "has no IPAI_ODOO_READER_PASSWORD" in refused
    assert PASSWORD not in (linked.scripts / "odoo.sql").read_text()
