# SPDX-License-Identifier: Apache-2.0
"""A database followed by its log, from its table to Bronze, by the commands people use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ipai_kit.testing.postgres import running_postgres

IPAI = Path(sys.executable).with_name("ipai")


@pytest.fixture
def shop(tmp_path):
    """A source and a control plane on one server, and `ipai` for them."""
    with (
        running_postgres() as server,
        server.new_database() as source,
        server.new_database() as plane,
        psycopg.connect(server.dsn(source), autocommit=True) as connection,
    ):
        environment = {
            **os.environ,
            "IPAI_DATABASE_URL": server.url(plane),
            "IPAI_HOME": str(tmp_path),
            "IPAI_RUNS_DIR": str(tmp_path),
        }

        def ipai(*arguments, code=0):
            done = subprocess.run(
                [IPAI, *arguments], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, done.stderr + done.stdout
            return done.stdout

        ipai("db", "migrate")
        parts = {"dialect": "postgresql", "host": str(server.home), "user": "postgres"}
        settings = {**parts, "database": source, "replication_method": "LOG_BASED"}
        pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        ipai("instance", "add", "shop", "--connector", "jdbc", *pairs)
        yield ipai, connection, server.dsn(plane)


@pytest.mark.slow
def test_changes_of_a_source_reach_bronze_and_its_slot_is_looked_after(shop):
    ipai, source, plane = shop
    source.execute("create table orders (id int primary key, total numeric(10, 2))")
    source.execute("insert into orders values (1, 1.50), (2, 2.50)")

    (before,) = json.loads(ipai("cdc", "status", "--json", code=1))
    ipai("run", "shop")
    source.execute("update orders set total = 9.99 where id = 1")
    source.execute("delete from orders where id = 2")
    ipai("run", "shop")
    (after,) = json.loads(ipai("cdc", "status", "shop", "--json"))

    assert "no slot" in before["warnings"][0]
    assert (after["exists"], after["tables"], after["warnings"]) == (True, ["public.orders"], [])
    assert after["lag_bytes"] > 0
    assert after["stored_at"]
    assert "ipai_cdc" in ipai("cdc", "status")
    with psycopg.connect(plane) as bronze:
        ((name,),) = bronze.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables "
            "where tablename like 'raw_jdbc_public__orders'"
        ).fetchall()
        columns = "record ->> 'id', record ->> 'total', deleted_at is null"
        rows = bronze.execute(f"select {columns} from {name} order by 1".encode()).fetchall()
    assert rows == [("1", "9.99", True), ("2", "2.50", False)]
    assert "Dropped slot ipai_cdc" in ipai("cdc", "drop", "shop")
    assert source.execute("select count(*) from pg_replication_slots").fetchone() == (0,)
