# SPDX-License-Identifier: Apache-2.0
"""What docs/runbooks/restore.md says: a dump goes into another database, and work goes on."""

import subprocess

import pytest

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.embedded.binaries import find_binaries
from ipai_orchestrate.migrations import migrate


def test_a_restored_backup_goes_on_where_it_was_made(
    server, database, migrated_template, make_instance, control_plane, tmp_path
):
    binaries = find_binaries()
    dump, restore = (binaries.tool(name) for name in ("pg_dump", "pg_restore"))
    if not (dump.exists() and restore.exists()):
        pytest.skip(f"{binaries.bin} has no pg_dump")
    instance = make_instance()
    done, left = (control_plane.enqueue(instance, max_attempts=3) for _ in range(2))
    run = control_plane.claim(done, "before")
    state = {"bookmarks": {"issues": {"replication_key_value": "2026-01-01"}}}
    control_plane.complete(run, state=state)
    control_plane.claim(left, "before", 1)
    file = str(tmp_path / "ipai.dump")
    subprocess.run([dump, "--format", "custom", "--file", file, database], check=True)

    name = server.create(migrated_template)
    there = server.dsn_of(name)
    options = ["--clean", "--if-exists", "--single-transaction", "--dbname", there]
    subprocess.run([restore, *options, file], check=True)

    assert migrate(there).applied == ()
    with ControlPlane.connect(there) as plane:
        assert plane.state_get(instance).state_json == state
        plane.connection.execute("select pg_sleep(1)")
        (lost,) = plane.reap()  # what ran when the dump was made
        assert left == lost.run_id
        plane.connection.execute(
            "update connectors.connector_runs set run_after = now() where status = 'queued'"
        )
        again = plane.claim(None, "after")
        assert (lost.retry_id, state) == (again.id, again.state)
        plane.complete(again, state=state)
        statuses = [one.status for one in plane.runs(10)]
    server.drop(name)

    assert ["succeeded", "failed", "succeeded"] == statuses
