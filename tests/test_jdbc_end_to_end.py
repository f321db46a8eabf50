# SPDX-License-Identifier: Apache-2.0
"""From a PostgreSQL table to Bronze: exact values, resumed snapshots, rows that are gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ipai_kit.testing.postgres import running_postgres
from ipai_kit.testing.runs import run_tap
from ipai_kit.testing.target_runs import land_here
from tap_jdbc.tap import TapJdbc

BIN = Path(sys.executable).parent
BRONZE = "ipai_bronze_core"


@pytest.fixture(scope="module")
def server():
    with running_postgres() as started:
        yield started


@pytest.fixture
def databases(server):
    with (
        server.new_database() as shop,
        server.new_database() as bronze,
        psycopg.connect(server.dsn(shop), autocommit=True) as source,
        psycopg.connect(server.dsn(bronze), autocommit=True) as target,
    ):
        source.execute("create table things (id int primary key, n numeric, at timestamptz)")
        source.execute(
            "insert into things select n, n * 1.10, timestamptz '2026-01-01' + n * interval '1 s' "
            "from generate_series(1, 60) n"
        )
        yield source, target


@pytest.fixture
def sync(server, databases, tmp_path):
    source, target = databases
    (tmp_path / "target.json").write_text(
        json.dumps({"database_url": server.dsn(target.info.dbname)})
    )

    def run(state=None, **settings):
        config = {"url": server.url(source.info.dbname), **settings}
        (tmp_path / "tap.json").write_text(json.dumps(config))
        command = [str(BIN / "tap-jdbc"), "--config", "tap.json"]
        if state is not None:
            (tmp_path / "state.json").write_text(json.dumps(state))
            command += ["--state", "state.json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path) as tap:
            loading = [str(BIN / "target-bronze-postgres"), "--config", "target.json"]
            target_run = subprocess.run(
                loading, stdin=tap.stdout, capture_output=True, check=True, cwd=tmp_path
            )
        assert tap.returncode == 0
        return json.loads(target_run.stdout.splitlines()[-1])

    return run


def landed(target):
    (name,) = target.execute(
        "select table_name from information_schema.tables where table_schema = %s "
        "and starts_with(table_name, 'raw_jdbc_')",
        [BRONZE],
    ).fetchone()
    return target.execute(
        "select (record ->> 'id')::int, record ->> 'n', deleted_at is not null "
        f"from {BRONZE}.{name} order by 1"
    ).fetchall()


def test_values_arrive_exactly_and_rows_that_are_gone_are_marked(databases, sync):
    source, target = databases

    sync(emit_activate_version_messages=True)
    first = landed(target)
    source.execute("delete from things where id in (3, 60)")
    sync(emit_activate_version_messages=True)

    assert first == [(n, f"{n * 110 // 100}.{n * 110 % 100:02}", False) for n in range(1, 61)]
    assert [n for n, _, gone in landed(target) if gone] == [3, 60]


def test_a_snapshot_that_goes_on_marks_nothing_of_what_came_before(databases, sync, tmp_path):
    source, target = databases
    versioned = {"emit_activate_version_messages": True, "chunk_rows": 7}
    sync(**versioned)
    source.execute("delete from things where id = 5")
    # what a tap that was killed has left: the rows up to 30 with a version, and its mark
    config = json.loads((tmp_path / "tap.json").read_text())
    run = run_tap(str(BIN / "tap-jdbc"), config)
    records = zip(run.lines, run.messages, strict=True)
    cut = [
        run.lines[0],
        *(line for line, one in records if one.get("record", {"id": 99})["id"] <= 30),
    ]
    version = json.loads(cut[-1])["version"]
    mark = {"order": ["id"], "version": version, "until": [60], "after": [30]}
    state = {"bookmarks": {"public-things": {"snapshot": mark}}}
    cut.append(json.dumps({"type": "STATE", "value": state}).encode())
    subprocess.run(
        [str(BIN / "target-bronze-postgres"), "--config", "target.json"],
        input=b"\n".join(cut) + b"\n",
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )

    sync(state=state, **versioned)

    assert [n for n, _, gone in landed(target) if gone] == [5]


def test_a_comparison_of_keys_buries_the_rows_that_are_gone(databases, sync):
    source, target = databases
    settings = {"streams": {"public-things": {"cursor": "at", "deletes": "compare"}}}

    state = sync(**settings)
    source.execute("delete from things where id in (3, 60)")
    sync(state=state, **settings)

    rows = landed(target)
    assert [(n, gone) for n, _, gone in rows if gone] == [(3, True), (60, True)]
    assert rows[2][1] == "3.30"


def test_lines_and_parquet_land_the_same_bytes_in_both_targets(server, databases, tmp_path, capfd):
    """So a change of the format changes no row."""
    pytest.importorskip("adbc_driver_postgresql")
    import pyarrow.parquet as pq

    from target_bronze_lake.command import PROGRAM as LAKE
    from target_bronze_postgres.command import PROGRAM as POSTGRES

    source, target = databases
    source.execute(
        "create table odd (id int primary key, d float8, s real, n numeric(38,20), at timestamptz,"
        " b bytea, j json, jb jsonb, a numeric[])"
    )
    source.execute(
        "insert into odd select n, (array[1, '-0', 1e15, 1e16, 1e22, 1e23, 5e-324, 1e-5, 123.25])"
        "[n]::float8, n * 1e6, n / 3.0, timestamptz '2026-01-01' + n * interval '1.5 s',"
        " decode(repeat('00ff', n), 'hex'), ('{\"b\" : 1.50,\n \"a\": ' || n || '}')::json,"
        " jsonb_build_object('k' || n, n / 4.0), array[n / 7.0, null] from generate_series(1, 9) n"
    )
    config = {"url": server.url(source.info.dbname), "tables": ["odd"]}
    encoding = {"encoding": {"format": "parquet"}, "storage": {"root": str(tmp_path)}}

    def read():
        (name,) = target.execute(
            "select table_name from information_schema.tables where table_schema = %s "
            "and starts_with(table_name, 'raw_jdbc_')",
            [BRONZE],
        ).fetchone()
        rows = target.execute(f"select xmin::text, r.* from {BRONZE}.{name} r order by record_key")
        files = lake.rglob("*.zstd.parquet")
        return rows.fetchall(), sorted(
            text for file in files for text in pq.ParquetFile(file).read()["record"].to_pylist()
        )

    found = []
    for more in ({}, {"batch_config": encoding}):
        run = run_tap(TapJdbc, {**config, **more})
        lake = tmp_path / f"lake{len(found)}"
        dsn = {"database_url": server.dsn(target.info.dbname)}
        for program, settings in ((POSTGRES, dsn), (LAKE, {"lake_url": lake.as_uri()})):
            assert land_here(program, settings, run.lines, capfd).exit_code == 0
        found.append(read())

    assert found[0] == found[1]
    assert len(found[0][0]) == len(found[0][1]) == 9
