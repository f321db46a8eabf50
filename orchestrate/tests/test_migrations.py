# SPDX-License-Identifier: Apache-2.0
"""The migration runner, and our migrations: twice, at once, backwards, as nobody special."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest

import ipai_orchestrate
from ipai_orchestrate import embedded
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.embedded.binaries import Binaries, find_binaries, installations
from ipai_orchestrate.embedded.process_user import server_user
from ipai_orchestrate.exceptions import DatabaseUnavailableError, MigrationError
from ipai_orchestrate.migrations import migrate, migration_status, revert
from ipai_orchestrate.migrations.files import read_migrations, supabase_folder
from ipai_orchestrate.migrations.statements import split_statements


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two small migrations and their rollbacks."""
    for part in ("migrations", "rollbacks"):
        (tmp_path / part).mkdir()
    write(tmp_path, "migrations/20260101000000_one.sql", "create table one (id int);")
    write(tmp_path, "migrations/20260102000000_two.sql", "create table two (id int);")
    write(tmp_path, "rollbacks/20260101000000_one.sql", "drop table one;")
    write(tmp_path, "rollbacks/20260102000000_two.sql", "drop table two;")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def run(dsn: str, script: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(script.encode())


HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by 1"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select 1;\n\n;;  ", ["select 1"]),
        ("-- only; a comment\n", []),
        ("select ';'; select 'it''s; two'", ["select ';'", "select 'it''s; two'"]),
        (r"select e'\';'; select 2", [r"select e'\';'", "select 2"]),
        (r"select '\'; select 2", [r"select '\'", "select 2"]),
        ('select ";" ; select 2', ['select ";"', "select 2"]),
        ("do $$ begin; end $$; select 2", ["do $$ begin; end $$", "select 2"]),
        ("do $a$ $$;$$ $b$; $a$; select 2", ["do $a$ $$;$$ $b$; $a$", "select 2"]),
        ("select $1; select a$b$; select c$b$", ["select $1", "select a$b$", "select c$b$"]),
        ("/* a; /* b; */ c; */ select 1; select 2", ["/* a; /* b; */ c; */ select 1", "select 2"]),
        ("-- say; so\nselect 1;", ["-- say; so\nselect 1"]),
        ("select 'open; to the end", ["select 'open; to the end"]),
        ("select $$open; to the end", ["select $$open; to the end"]),
        ("/* open; to the end", []),
        ("select $ä$;$ä$; select 2", ["select $ä$;$ä$", "select 2"]),
    ],
)
def test_a_script_is_cut_at_the_semicolons_that_end_statements(
    script: str, expected: list[str]
) -> None:
    assert split_statements(script) == expected


def test_missing_migrations_are_applied_in_order_and_recorded(
    empty_database: str, folder: Path
) -> None:
    report = migrate(empty_database, folder / "migrations")

    assert report.applied == ("20260101000000", "20260102000000")
    assert rows(empty_database, HISTORY) == [
        ("20260101000000", "one", ["create table one (id int)"]),
        ("20260102000000", "two", ["create table two (id int)"]),
    ]


def test_a_second_run_does_nothing(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder / "migrations")

    assert migrate(empty_database, folder / "migrations").applied == ()


def test_a_failing_file_leaves_nothing_and_keeps_what_came_before(
    empty_database: str, folder: Path
) -> None:
    write(folder, "migrations/20260103000000_bad.sql", "create table three (); select nonsense;")

    with pytest.raises(MigrationError, match=r"20260103000000_bad failed in statement 2.*nonsense"):
        migrate(empty_database, folder / "migrations")

    assert [version for version, *_ in rows(empty_database, HISTORY)] == [
        "20260101000000",
        "20260102000000",
    ]
    assert rows(empty_database, "select to_regclass('three')") == [(None,)]


def test_two_files_of_one_version_are_refused(empty_database: str, folder: Path) -> None:
    write(folder, "migrations/20260101000000_again.sql", "select 1;")

    with pytest.raises(MigrationError, match="Two migrations have version '20260101000000'"):
        migrate(empty_database, folder / "migrations")


def test_a_file_older_than_the_newest_applied_is_refused_unless_asked_for(
    empty_database: str, folder: Path
) -> None:
    migrate(empty_database, folder / "migrations")
    write(folder, "migrations/20260101120000_late.sql", "create table late ();")

    with pytest.raises(MigrationError, match=r"\['20260101120000'\] are older"):
        migrate(empty_database, folder / "migrations")
    report = migrate(empty_database, folder / "migrations", include_older=True)

    assert report.applied == ("20260101120000",)


def test_files_changed_after_they_were_applied_are_reported(
    empty_database: str, folder: Path
) -> None:
    migrate(empty_database, folder / "migrations")
    write(folder, "migrations/20260101000000_one.sql", "create table one (id bigint);")

    assert migrate(empty_database, folder / "migrations").changed == ("20260101000000",)


def test_the_status_tells_what_is_where(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder / "migrations")
    run(
        empty_database,
        "insert into supabase_migrations.schema_migrations values ('20250101000000')",
    )
    write(folder, "migrations/20260103000000_three.sql", "select 1;")

    status = migration_status(empty_database, folder / "migrations")

    assert status.applied == ("20260101000000", "20260102000000")
    assert status.pending == ("20260103000000",)
    assert status.unknown == ("20250101000000",)


def test_a_history_without_names_and_statements_is_understood_and_completed(
    empty_database: str, folder: Path
) -> None:
    run(
        empty_database,
        "create schema supabase_migrations;"
        "create table supabase_migrations.schema_migrations (version text primary key);"
        "insert into supabase_migrations.schema_migrations values ('20260101000000')",
    )

    report = migrate(empty_database, folder / "migrations")

    assert report.applied == ("20260102000000",)
    assert report.changed == ()
    assert rows(empty_database, HISTORY)[0] == ("20260101000000", None, None)


def test_an_open_reader_of_the_history_does_not_block(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder / "migrations")
    write(folder, "migrations/20260103000000_three.sql", "select 1;")
    with psycopg.connect(empty_database) as reader:
        reader.execute("select * from supabase_migrations.schema_migrations")

        assert migrate(empty_database, folder / "migrations").applied == ("20260103000000",)


def test_text_that_looks_like_a_placeholder_is_left_alone(
    empty_database: str, folder: Path
) -> None:
    write(folder, "migrations/20260103000000_percent.sql", "select 'a' like '%s' as \"%(x)s\";")

    assert "20260103000000" in migrate(empty_database, folder / "migrations").applied


def test_reverting_goes_back_to_a_version_newest_first(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder / "migrations")

    assert revert(empty_database, "20260101000000", folder) == ("20260102000000",)
    assert revert(empty_database, "0", folder) == ("20260101000000",)
    assert rows(empty_database, HISTORY) == []
    assert revert(empty_database, "0", folder) == ()


def test_reverting_without_a_script_is_refused(empty_database: str, folder: Path) -> None:
    migrate(empty_database, folder / "migrations")
    (folder / "rollbacks" / "20260102000000_two.sql").unlink()

    with pytest.raises(MigrationError, match="'20260102000000' has no rollback script"):
        revert(empty_database, "0", folder)


def test_an_empty_folder_is_no_set_of_migrations(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="No migration files"):
        read_migrations(tmp_path)


def test_a_database_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="Check IPAI_DATABASE_URL"):
        migrate(f"postgresql://postgres@/postgres?host={tmp_path}")


def test_four_runners_at_once_apply_each_file_once(empty_database: str) -> None:
    applied: list[str] = []
    failures: list[BaseException] = []

    def one_runner() -> None:
        try:
            applied.extend(migrate(empty_database).applied)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    runners = [threading.Thread(target=one_runner) for _ in range(4)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()

    assert failures == []
    versions = [one.version for one in read_migrations(supabase_folder() / "migrations")]
    assert sorted(applied) == versions


def test_the_seed_runs_on_a_fresh_database_and_twice(database: str) -> None:
    seed = (supabase_folder() / "seed.sql").read_text()
    for _ in range(2):
        run(database, seed)


def test_the_wheel_carries_every_file_of_the_repository(tmp_path: Path) -> None:
    source = supabase_folder()
    project = source.parent / "orchestrate"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    prefix = "ipai_orchestrate/_supabase/"
    packed = {name.removeprefix(prefix) for name in ZipFile(wheel).namelist() if prefix in name}
    files = {str(path.relative_to(source)) for path in source.rglob("*.*") if path.is_file()}
    assert packed == files


def test_an_installed_package_finds_its_own_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "ipai_orchestrate"
    (package / "_supabase").mkdir(parents=True)
    monkeypatch.setattr(ipai_orchestrate, "__file__", str(package / "__init__.py"))

    assert supabase_folder() == package / "_supabase"


def schema_dump(dsn: str, tool: Path) -> str:
    command = [tool, "--schema-only", "--no-owner", "-N", "supabase_migrations", dsn]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Newer versions wrap the dump in \restrict with a random key.
    return "\n".join(line for line in dump.splitlines() if "restrict" not in line)


def test_every_migration_is_undone_exactly_by_its_rollback(empty_database: str) -> None:
    tool = find_binaries().tool("pg_dump")
    if not tool.exists():
        pytest.skip("these binaries come without pg_dump")
    source = supabase_folder()
    all_files = sorted((source / "migrations").glob("*.sql"))
    with tempfile.TemporaryDirectory() as name:
        growing = Path(name)
        before = [schema_dump(empty_database, tool)]
        for file in all_files:
            shutil.copy(file, growing)
            migrate(empty_database, growing)
            before.append(schema_dump(empty_database, tool))
    complete = before.pop()

    for file in reversed(all_files):
        previous = str(int(file.name.split("_")[0]) - 1)
        assert revert(empty_database, previous) == (file.name.split("_")[0],)
        assert schema_dump(empty_database, tool) == before.pop(), file.name
    migrate(empty_database)
    assert schema_dump(empty_database, tool) == complete


def test_a_layer_that_holds_tables_is_not_dropped(database: str) -> None:
    run(database, "create table ipai_bronze_devops.raw_github_issues ()")

    with pytest.raises(MigrationError, match="raw_github_issues"):
        revert(database, "0")

    assert rows(database, "select count(*) from ipai_bronze_devops.raw_github_issues") == [(0,)]


def servers() -> list[Binaries]:
    """Every PostgreSQL of this machine, and the one that IPAI_PG_BIN names."""
    return list({found.bin: found for found in (find_binaries(), *installations())}.values())


@pytest.fixture(scope="module", params=servers(), ids=lambda found: str(found.bin))
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """Each PostgreSQL on this machine."""
    found: Binaries = request.param
    return found


@pytest.fixture(scope="module")
def fresh_server(binaries: Binaries) -> Iterator[str]:
    """A server that has never seen our roles, of each PostgreSQL on this machine."""
    home = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    home.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPAI_PG_BIN", str(binaries.bin))
        if server_user().can("-x", binaries.tool("postgres")):
            with embedded.open_database(home, migrated=False) as dsn:
                yield dsn
        else:
            pytest.skip("the server's user cannot run these binaries")
    shutil.rmtree(home)


def as_user(dsn: str, user: str, database: str) -> str:
    return dsn.replace("postgres@/postgres?", f"{user}@/{database}?")


def one_run(dsn: str) -> str:
    """Take one run through its life and return its final status."""
    run(
        dsn,
        "select * from connectors.register_connector_definition('github', 'x', '{}')",
    )
    with ControlPlane.connect(dsn) as plane:
        plane.ensure_instance("github-acme", "ipai_connector_github", {})
        claimed = plane.claim(plane.enqueue("github-acme"), "worker")
        assert claimed is not None
        plane.append_logs(claimed, [{"message": "hello"}])
        plane.save_state(claimed, {"bookmarks": {"issues": {"replication_key_value": 1}}})
        plane.complete(claimed)
        return plane.run_status(claimed.id).status


@pytest.fixture(scope="module")
def plain(fresh_server: str) -> str:
    """A database whose owner is nobody special and has created all our roles."""
    run(fresh_server, "create role deployer login nosuperuser createrole nobypassrls")
    run(fresh_server, "create database plain owner deployer")
    dsn = as_user(fresh_server, "deployer", "plain")
    assert len(migrate(dsn).applied) > 5
    return dsn


def test_an_ordinary_role_that_may_create_roles_applies_everything_twice(
    plain: str, binaries: Binaries
) -> None:
    tool = binaries.tool("pg_dump")
    complete = schema_dump(plain, tool) if tool.exists() else ""
    assert migrate(plain).applied == ()
    assert one_run(plain) == "succeeded"

    reverted = revert(plain, "0")
    bare = "select count(*) from pg_namespace where nspname ~ '^(connectors|ipai_|vault)'"
    assert rows(plain, bare) == [(0,)]
    assert migrate(plain).applied == tuple(sorted(reverted))
    assert (schema_dump(plain, tool) if tool.exists() else "") == complete
    assert one_run(plain) == "succeeded"


def test_roles_that_exist_already_are_used(fresh_server: str) -> None:
    run(fresh_server, "create database shared")
    migrate(as_user(fresh_server, "postgres", "shared"))
    run(fresh_server, "create role other_deployer login nosuperuser nocreaterole")
    run(fresh_server, "create database other owner other_deployer")
    dsn = as_user(fresh_server, "other_deployer", "other")

    migrate(dsn)

    assert one_run(dsn) == "succeeded"


def test_what_a_worker_creates_is_readable_where_the_layer_says_so(
    fresh_server: str, plain: str
) -> None:
    owner = as_user(fresh_server, "postgres", "plain")
    run(owner, "create role loader login in role ipai_worker")
    run(owner, "alter role loader set role ipai_worker")
    worker = as_user(fresh_server, "loader", "plain")
    for layer in ("bronze", "silver", "gold"):
        run(worker, f"create table ipai_{layer}_devops.t as select 1 as a")

    readable = {
        role: [
            layer
            for layer in ("bronze", "silver", "gold")
            if rows(
                owner, f"select has_table_privilege('{role}', 'ipai_{layer}_devops.t', 'select')"
            )
            == [(True,)]
        ]
        for role in ("ipai_operator", "ipai_analyst", "anon")
    }
    assert readable == {
        "ipai_operator": ["bronze", "silver", "gold"],
        "ipai_analyst": ["gold"],
        "anon": [],
    }
