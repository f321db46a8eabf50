# SPDX-License-Identifier: Apache-2.0
"""Through a transaction pooler, as Supabase's port 6543: nothing may stay on the connection."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

Make = Callable[..., Any]
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture(scope="module")
def pooled_dsn(server: Any) -> Iterator[str]:
    """A pgbouncer in transaction mode with two server connections."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    folder = Path(server.home) / "pooler"
    folder.mkdir()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(f"""[databases]
postgres = host={server.home} dbname=postgres user=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6543
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 2
logfile = {folder}/log
""")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwuid(folder.parent.stat().st_uid)
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    command = [PGBOUNCER, "-q", str(folder / "pgbouncer.ini")]
    process = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **user)
    dsn = f"host={folder} port=6543 user=postgres dbname=postgres"
    try:
        _wait_until_ready(dsn)
        yield dsn
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_ready(dsn: str) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def test_everything_works_through_a_transaction_pooler(
    bronze: Any, pooled_dsn: str, run_target: Make, schema: Make, record: Make, state: Make
) -> None:
    bad = '{"type":"RECORD","stream":"things","version":1,"record":{"id":9,"v":1e999999}}'
    activate = {"type": "ACTIVATE_VERSION", "stream": "things", "version": 1}
    for step in range(3):
        records = [record(id=number, v=step * (number % 2), version=1) for number in range(40)]
        done = run_target(
            [schema(), *records, bad, activate, state(step)],
            database_url=pooled_dsn,
            batch_size_rows=10,
        )
        assert (done.exit_code, done.states[-1]) == (0, step)

    assert len(bronze.rows("things")) == 40
    assert len(bronze.letters()) == 1


def test_many_targets_share_few_server_connections(
    bronze: Any, pooled_dsn: str, start_target: Make, schema: Make, record: Make, state: Make
) -> None:
    targets = [
        start_target(dsn=pooled_dsn, instance_id=str(n), batch_size_rows=20) for n in range(4)
    ]
    for target in targets:
        target.send([schema(), *(record(id=number) for number in range(200)), state(1)])

    done = [target.finish() for target in targets]

    assert [outcome.exit_code for outcome in done] == [0] * 4, done
    assert bronze.value("select count(*) from ipai_bronze_core.raw_singer_things") == 800


def test_settings_do_not_leak_into_other_sessions_of_the_pooler(
    bronze: Any, pooled_dsn: str, run_target: Make, schema: Make, record: Make
) -> None:
    run_target([schema(), record(id=1)], database_url=pooled_dsn)

    with psycopg.connect(pooled_dsn, autocommit=True, prepare_threshold=None) as other:
        row = other.execute("""select current_setting('enable_seqscan'), current_setting('jit'),
            (select count(*) from pg_prepared_statements)""").fetchone()

    assert row is not None
    assert (row[0], row[2]) == ("on", 0)
    assert row[1] == bronze.value("show jit")
