# SPDX-License-Identifier: Apache-2.0
"""Meltano's state backend: on its own, beside our runner, and under the real Meltano."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from meltano.core.state_store.base import MeltanoState, StateIDLockedError

from ipai_orchestrate import embedded
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConfigurationError, ConflictError
from ipai_orchestrate.meltano_state.backend import IpaiStateStoreManager
from ipai_orchestrate.meltano_state.settings import IPAI_DSN

SHARED = "dev:tap-github-to-target-bronze-postgres:github-acme"
FOREIGN = "dev:tap-smoke-test-to-target-jsonl"


def bookmarks(value: int) -> dict[str, object]:
    return {"bookmarks": {"issues": {"replication_key_value": value}}}


@pytest.fixture
def manager(database: str) -> Iterator[IpaiStateStoreManager]:
    with IpaiStateStoreManager(dsn=database, lock_timeout_seconds=0.2) as opened:
        yield opened


def completed(state_id: str, value: int) -> MeltanoState:
    return MeltanoState(state_id, completed_state={"singer_state": bookmarks(value)})


def test_a_state_comes_back_as_it_was_set(manager: IpaiStateStoreManager) -> None:
    assert manager.get(FOREIGN) is None

    manager.update(completed(FOREIGN, 1))

    assert manager.get(FOREIGN) == MeltanoState(
        FOREIGN, completed_state={"singer_state": bookmarks(1)}, partial_state={}
    )


def test_a_partial_state_is_kept_apart_and_folded_in_by_the_next_complete_one(
    manager: IpaiStateStoreManager,
) -> None:
    manager.update(completed(FOREIGN, 1))
    manager.update(MeltanoState(FOREIGN, partial_state={"singer_state": bookmarks(2)}))

    both = manager.get(FOREIGN)
    assert both is not None
    assert both.completed_state == {"singer_state": bookmarks(1)}
    assert both.partial_state == {"singer_state": bookmarks(2)}
    assert json.loads(both.json_merged()) == {"singer_state": bookmarks(2)}

    manager.update(completed(FOREIGN, 3))
    assert manager.get(FOREIGN) == MeltanoState(
        FOREIGN, completed_state={"singer_state": bookmarks(3)}, partial_state={}
    )


def test_a_forgotten_state_is_gone_but_stays_in_the_history(
    manager: IpaiStateStoreManager, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    manager.update(completed(FOREIGN, 1))
    manager.clear(FOREIGN)
    manager.clear(FOREIGN)
    assert manager.get(FOREIGN) is None

    manager.update(completed(FOREIGN, 2))

    history = connection.execute(
        "select version, reason from connectors.connector_state_history order by version"
    )
    assert history.fetchall() == [(1, "meltano"), (2, "delete"), (3, "meltano")]


def test_state_ids_are_listed_by_pattern(manager: IpaiStateStoreManager) -> None:
    for state_id in ("dev:a-to-b", "dev:c-to-d", "prod:a-to-b"):
        manager.update(completed(state_id, 1))

    assert list(manager.get_state_ids()) == ["dev:a-to-b", "dev:c-to-d", "prod:a-to-b"]
    assert list(manager.get_state_ids("dev:*")) == ["dev:a-to-b", "dev:c-to-d"]
    assert manager.clear_all() == 3
    assert list(manager.get_state_ids()) == []


def test_the_suffix_that_names_an_instance_shares_its_row(
    manager: IpaiStateStoreManager,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
) -> None:
    make_instance("github-acme")

    manager.update(completed(SHARED, 1))
    stored = control_plane.state_get("github-acme")
    assert stored is not None
    assert stored.state_json == bookmarks(1)

    run = control_plane.claim(control_plane.enqueue("github-acme"), "worker")
    assert run is not None
    assert run.state == bookmarks(1)
    control_plane.save_state(run, bookmarks(2))
    control_plane.complete(run)

    again = manager.get(SHARED)
    assert again is not None
    assert again.completed_state == {"singer_state": bookmarks(2)}
    assert list(manager.get_state_ids()) == [SHARED]


@pytest.mark.parametrize(
    "state_id",
    [
        "prod:tap-github-to-target-bronze-postgres:github-acme",  # another environment
        "dev:tap-gitlab-to-target-bronze-postgres:github-acme",  # another tap
        "dev:tap-github-to-target-jsonl:github-acme",  # loads elsewhere
        "dev:tap-github-to-target-bronze-postgres",  # names no instance
        "dev:tap-github-to-target-bronze-postgres:other",  # an unknown one
    ],
)
def test_other_state_ids_leave_the_instances_row_alone(
    manager: IpaiStateStoreManager,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
    state_id: str,
) -> None:
    make_instance("github-acme")
    manager.update(completed(state_id, 1))

    assert control_plane.state_get("github-acme") is None
    assert manager.get(state_id) is not None


def test_a_state_stored_before_its_instance_existed_is_still_found(
    manager: IpaiStateStoreManager, make_instance: Callable[..., str]
) -> None:
    manager.update(completed(SHARED, 1))
    make_instance("github-acme")

    found = manager.get(SHARED)
    assert found is not None
    assert found.completed_state == {"singer_state": bookmarks(1)}


def test_meltano_cannot_write_while_our_own_run_holds_the_instance(
    manager: IpaiStateStoreManager,
    control_plane: ControlPlane,
    make_instance: Callable[..., str],
) -> None:
    make_instance("github-acme")
    assert control_plane.claim(control_plane.enqueue("github-acme"), "worker") is not None

    with pytest.raises(ConflictError, match="has the active run"):
        manager.update(completed(SHARED, 1))
    with pytest.raises(ConflictError, match="has the active run"):
        manager.clear(SHARED)


def test_one_state_has_one_writer_at_a_time(manager: IpaiStateStoreManager, database: str) -> None:
    with (
        IpaiStateStoreManager(dsn=database) as other,
        other.acquire_lock(FOREIGN),
        pytest.raises(StateIDLockedError, match=r"not free within 0\.2 seconds"),
    ):
        manager.update(completed(FOREIGN, 1))

    manager.update(completed(FOREIGN, 2))


def test_writers_at_once_lose_no_update(database: str, manager: IpaiStateStoreManager) -> None:
    def write(number: int) -> None:
        partial = {"singer_state": {"bookmarks": {f"stream_{number}": {"n": number}}}}
        with IpaiStateStoreManager(dsn=database) as mine:
            mine.update(MeltanoState(FOREIGN, partial_state=partial))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    state = manager.get(FOREIGN)
    assert state is not None
    assert state.partial_state is not None
    assert len(state.partial_state["singer_state"]["bookmarks"]) == 6


def test_the_address_may_be_in_the_uri(database: str) -> None:
    uri = "ipai" + database.removeprefix("postgresql").replace(
        "@/", "@" + database.split("host=")[1].replace("/", "%2F") + "/"
    )
    with IpaiStateStoreManager(uri=uri) as manager:
        manager.update(completed(FOREIGN, 1))
        assert manager.get(FOREIGN) is not None


def test_a_database_without_our_schema_says_what_to_run(empty_database: str) -> None:
    with (
        IpaiStateStoreManager(dsn=empty_database) as manager,
        pytest.raises(ConfigurationError, match="ipai db migrate"),
    ):
        manager.get(FOREIGN)


def test_the_setting_is_secret() -> None:
    assert IPAI_DSN.name == "state_backend.ipai.dsn"
    assert IPAI_DSN.is_redacted


_TAP = """
import json, sys
if "--discover" in sys.argv:
    issues = {"tap_stream_id": "issues", "stream": "issues", "schema": {"type": "object"}}
    print(json.dumps({"streams": [issues]}))
    sys.exit()
done = 0
if "--state" in sys.argv:
    state = json.load(open(sys.argv[sys.argv.index("--state") + 1]))
    done = state["bookmarks"]["issues"]["replication_key_value"]
def say(**message):
    print(json.dumps(message), flush=True)
say(type="SCHEMA", stream="issues", schema={"type": "object"}, key_properties=["id"])
for number in (done + 1, done + 2):
    say(type="RECORD", stream="issues", record={"id": number})
say(type="STATE", value={"bookmarks": {"issues": {"replication_key_value": done + 2}}})
"""
# Writes to the database that the state backend has started, as our target does.
_TARGET = """
import json, os, sys
import psycopg
dsn = open(os.path.join(os.environ["IPAI_HOME"], "database_url")).read().strip()
with psycopg.connect(dsn, autocommit=True) as connection:
    connection.execute("create table if not exists landed (id int)")
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            connection.execute("insert into landed values (%s)", (message["record"]["id"],))
        elif message["type"] == "STATE":
            print(json.dumps(message["value"]), flush=True)
"""
_PROJECT = """
default_environment: dev
project_id: 00000000-0000-0000-0000-000000000001
send_anonymous_usage_stats: false
cli: {disable_version_check: true}
state_backend: {uri: "ipai://"}
environments: [{name: dev}]
plugins:
  extractors:
  - name: tap-github
    namespace: tap_github
    executable: ./tap.sh
    capabilities: [catalog, state, discover]
  loaders:
  - {name: target-bronze-postgres, namespace: target_bronze_postgres, executable: ./target.sh}
"""


@pytest.fixture
def project() -> Iterator[Path]:
    """A Meltano project of two small plugins, with an embedded database of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    folder.chmod(0o711)
    (folder / "meltano.yml").write_text(textwrap.dedent(_PROJECT))
    for name, code in (("tap", _TAP), ("target", _TARGET)):
        (folder / f"{name}.py").write_text(code)
        script = folder / f"{name}.sh"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/{name}.py "$@"\n')
        script.chmod(0o755)
    yield folder
    embedded.stop(folder / "home", force=True)
    shutil.rmtree(folder)


def run_meltano(project: Path, *arguments: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("IPAI_")
    }
    environment |= {"IPAI_HOME": str(project / "home"), "NO_COLOR": "1"}
    answer = subprocess.run(
        [Path(sys.executable).parent / "meltano", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.slow
def test_meltano_resumes_from_the_row_it_shares_with_our_runner(project: Path) -> None:
    home = project / "home"
    with embedded.open_database(home) as dsn, ControlPlane.connect(dsn) as plane:
        plane.connection.execute(
            "select * from connectors.register_connector_definition('github', 'x', '{}')"
        )
        plane.ensure_instance("github-acme", "ipai_connector_github", {})
    assert not embedded.status(home).running

    command = ("run", "--state-id-suffix", "github-acme", "tap-github", "target-bronze-postgres")
    run_meltano(project, *command)
    assert not embedded.status(home).running
    run_meltano(project, *command)

    with embedded.open_database(home) as dsn, ControlPlane.connect(dsn) as plane:
        landed = plane.connection.execute("select id from landed order by id").fetchall()
        assert landed == [(1,), (2,), (3,), (4,)]
        stored = plane.state_get("github-acme")
        assert stored is not None
        assert stored.state_json == bookmarks(4)
        assert [one.reason for one in plane.state_history("github-acme")] == ["meltano"] * 2
