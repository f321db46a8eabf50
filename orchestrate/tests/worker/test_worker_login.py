# SPDX-License-Identifier: Apache-2.0
"""A worker with nothing but its own login gets secrets, loads Bronze, builds Silver and Gold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ipai_orchestrate.sandbox import running_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IPAI = str(Path(sys.executable).with_name("ipai"))
LOGINS = ("worker_one", "worker_two")
STREAMS = ["repositories", "issues", "workflow_runs"]


@pytest.fixture
def logins(connection):
    for login in LOGINS:
        connection.execute(f"drop role if exists {login}")
        connection.execute(f"create role {login} login in role ipai_worker")
        connection.execute(f"alter role {login} set role ipai_worker")
    yield LOGINS
    for login in LOGINS:
        connection.execute(f"drop role {login}")


def test_workers_with_logins_of_their_own_continue_each_others_work(
    server, connection, control_plane, logins, tmp_path
):
    small = ["repos=1", "days=3", "issues_per_repo=3", "pulls_per_repo=2", "commits_per_repo=3"]
    words = [word for option in small for word in ("--option", option)]
    with running_sandbox("github", words) as sandbox:
        config = sandbox.config()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("IPAI_")}
        environment = {**clean, "IPAI_HOME": str(tmp_path)}
        settings = tmp_path / "settings.json"
        settings.write_text(json.dumps(config | {"auth_token": "${secret:github/token}"}))

        def ipai(login, *arguments, stdin=""):
            dsn = server.dsn_of(connection.info.dbname, login)
            done = subprocess.run(
                [IPAI, *arguments],
                input=stdin,
                env={**environment, "IPAI_DATABASE_URL": dsn},
                capture_output=True,
                text=True,
                check=False,
            )
            assert 0 == done.returncode, done.stderr[-3000:]
            return done.stdout

        ipai("postgres", "secret", "set", "github/token", stdin=config["auth_token"])
        ipai("postgres", "instance", "add", "acme", "--connector=github", f"--config={settings}")
        reports = []
        for login in logins:
            control_plane.enqueue("acme", streams=STREAMS, max_attempts=1)
            reports.append(json.loads(ipai(login, "worker", "--once", "--json")))
        expected = len(list(sandbox.records("issues")))
    problems = [run.error_summary for run in control_plane.runs(10)]

    assert [1, 1] == [report["succeeded"] for report in reports], problems
    tables = dict(
        connection.execute(
            "select format('%I.%I', schemaname, tablename), tableowner from pg_tables"
            " where schemaname like 'ipai\\_%'"
        ).fetchall()
    )
    assert {"ipai_worker"} == set(tables.values())
    landed = "select count(*) from ipai_bronze_devops.raw_github_issues"
    assert (expected,) == connection.execute(landed).fetchone()
    with (
        psycopg.connect(server.dsn_of(connection.info.dbname, logins[0])) as worker,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        worker.execute("select * from connectors.connector_runs")
