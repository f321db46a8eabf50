# SPDX-License-Identifier: Apache-2.0
"""The vault itself: what it seals, what it refuses to open, and Supabase's own in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    RefusedError,
    SecretError,
)
from ipai_orchestrate.migrations import migrate
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.secrets import RingFile, SecretReader, SecretStore, verify
from ipai_orchestrate.secrets.key_ring import FILE_NAME

Connection = psycopg.Connection[Any]

CLIENT = pytest.mark.parametrize("ring", ["client"], indirect=True)
SERVER = pytest.mark.parametrize("ring", ["server"], indirect=True)
NAME = "github-acme/token"
VALUE = "canary-5ecret-\u00fc/+value"


@pytest.fixture
def as_service(connection: Connection) -> Iterator[Connection]:
    connection.execute("set role service_role")
    yield connection
    connection.execute("reset role")


@SERVER
def test_the_functions_of_supabase_vault_do_here_what_they_do_there(
    ring: RingFile, as_service: Connection
) -> None:
    row = as_service.execute("select vault.create_secret(%s)", (VALUE,)).fetchone()
    assert row is not None
    as_service.execute("select vault.create_secret(%s, %s, %s)", ("two", "named", "A description."))
    as_service.execute(
        "select vault.update_secret(%s, new_secret => 'three', new_name => 'first')", row
    )
    query = "select name, description, decrypted_secret from vault.decrypted_secrets order by name"

    assert as_service.execute(query).fetchall() == [
        ("first", "", "three"),
        ("named", "A description.", "two"),
    ]
    with pytest.raises(psycopg.errors.UniqueViolation):
        as_service.execute("select vault.create_secret('x', 'named')")
    as_service.execute("delete from vault.secrets where name = 'named'")
    assert as_service.execute(query).fetchall() == [("first", "", "three")]
    columns = [
        column.name
        for column in as_service.execute("select * from vault.decrypted_secrets").description or ()
    ]
    assert columns == [
        "id",
        "name",
        "description",
        "secret",
        "decrypted_secret",
        "key_id",
        "nonce",
        "created_at",
        "updated_at",
    ]


@SERVER
def test_a_secret_made_with_the_functions_of_the_vault_can_be_referred_to(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection
) -> None:
    connection.execute("select vault.create_secret(%s, %s, 'By hand.')", (VALUE, NAME))

    assert worker.reader(ring)([NAME]) == {NAME: VALUE}
    assert [(one.name, one.version, one.description) for one in store.all()] == [
        (NAME, 1, "By hand.")
    ]
    assert store.rotate(NAME, "new").version == 2
    assert worker.reader(ring)([NAME]) == {NAME: "new"}


SWAPS = {
    "the whole row": """
        update vault.secrets as a set secret = b.secret, nonce = b.nonce, key_id = b.key_id
        from vault.secrets as b where a.name = 'a/a' and b.name = 'b/b'""",
    "the value alone": """
        update vault.secrets as a set nonce = b.nonce,
            secret = regexp_replace(a.secret, '[^.]*$', split_part(b.secret, '.', 3))
        from vault.secrets as b where a.name = 'a/a' and b.name = 'b/b'""",
    "the key alone": """
        update vault.secrets as a set secret = split_part(b.secret, '.', 1) || '.'
            || split_part(b.secret, '.', 2) || '.' || split_part(a.secret, '.', 3)
        from vault.secrets as b where a.name = 'a/a' and b.name = 'b/b'""",
    "one character": """
        update vault.secrets set secret = left(secret, -12) || case
            when substr(right(secret, 12), 1, 1) = 'A' then 'B' else 'A' end || right(secret, 11)
        where name = 'a/a'""",
}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_was_swapped_or_changed_in_the_table_does_not_open(
    store: SecretStore,
    ring: RingFile,
    make_worker: Callable[..., Any],
    connection: Connection,
    swap: str,
) -> None:
    for name in ("a/a", "b/b"):
        store.create(name, f"value of {name} " + "x" * 40)
    connection.execute(SWAPS[swap].encode())
    one, other = make_worker("one", "a/a"), make_worker("other", "b/b")

    assert other.reader(ring)(["b/b"]) == {"b/b": "value of b/b " + "x" * 40}
    with pytest.raises(
        (SecretError, RefusedError), match="does not open: it was changed, or belongs"
    ):
        one.reader(ring)(["a/a"])


@SERVER
def test_a_message_without_integrity_protection_is_not_opened(
    ring: RingFile, connection: Connection
) -> None:
    row = connection.execute(
        "select extensions.pgp_sym_encrypt_bytea('x', 'key', 'disable-mdc=1'),"
        " extensions.pgp_sym_encrypt_bytea('x', 'key')"
    ).fetchone()
    assert row is not None
    opened = [
        connection.execute("select vault._pgp('open', %s, 'key')", (one,)).fetchone() for one in row
    ]

    assert opened == [(None,), (b"x",)]
    for damaged in (b"", b"\xc3", b"\xc3\xff\x00\x00", row[1][:-1], row[1] + b"x"):
        found = connection.execute("select vault._pgp('open', %s, 'key')", (damaged,)).fetchone()
        assert found == (None,)


def test_a_server_without_a_key_says_so(connection: Connection) -> None:
    with pytest.raises(
        psycopg.Error, match="This server cannot seal a secret: it has no"
    ) as caught:
        connection.execute("select vault.create_secret('x')")
    assert "ipai secret set" in (caught.value.diag.message_hint or "")


@CLIENT
@pytest.mark.usefixtures("pgcrypto")
def test_a_server_that_has_lost_pgcrypto_says_so(ring: RingFile, connection: Connection) -> None:
    connection.execute(
        "select set_config('ipai.vault_keys', %s, false)", (f"{uuid4()} {'A' * 43}=",)
    )
    connection.execute("select vault.create_secret('sealed by the key of the session', 'kept')")
    connection.execute("drop extension pgcrypto")
    with pytest.raises(psycopg.Error, match="it has no pgcrypto"):
        connection.execute("select vault.create_secret('x')")
    with pytest.raises(psycopg.Error, match="which this server does not have"):
        connection.execute("select * from vault.decrypted_secrets")
    store = SecretStore(connection, ring)
    assert not store.seals_itself()
    with pytest.raises(SecretError, match="There is no key file"):
        store.create("another", "value")


def test_a_lost_key_file_is_not_replaced_by_a_new_one(
    store: SecretStore, ring: RingFile, connection: Connection
) -> None:
    store.create("first", "value")
    kept = ring.read()
    ring.path.unlink()
    with pytest.raises(SecretError, match="There is no key file"):
        store.create("second", "value")
    ring.replace(kept)

    store.create("second", "value")
    assert [one.name for one in store.all()] == ["first", "second"]


THEIR_VAULT = """
create schema vault;
create table vault.secrets (
    id uuid primary key default gen_random_uuid(), name text, description text not null default '',
    secret text not null, key_id uuid, nonce bytea, created_at timestamptz not null default now(),
    updated_at timestamptz not null default now());
create unique index on vault.secrets (name) where name is not null;
create function vault.create_secret(new_secret text, new_name text default null,
    new_description text default '', new_key_id uuid default null) returns uuid
language sql security definer as $$ insert into vault.secrets (secret, name, description)
    values (reverse(new_secret), new_name, new_description) returning id $$;
create function vault.update_secret(secret_id uuid, new_secret text default null,
    new_name text default null, new_description text default null, new_key_id uuid default null)
returns void language sql security definer as $$ update vault.secrets set
    secret = coalesce(reverse(new_secret), secret), name = coalesce(new_name, name)
    where id = secret_id $$;
create view vault.decrypted_secrets as
    select *, reverse(secret) as decrypted_secret from vault.secrets;
insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
values (99999, 'supabase_vault', 'postgres'::regrole, 'vault'::regnamespace, false, '0.3.1');
"""


def test_where_the_extension_exists_it_is_used_and_nothing_is_put_beside_it(
    empty_database: str, tmp_path: Path
) -> None:
    """The extension is a server's: a stand-in with its interface is entered as it."""
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(THEIR_VAULT)
        migrate(empty_database)
        ours = connection.execute(
            "select proname from pg_proc where pronamespace = 'vault'::regnamespace order by 1"
        ).fetchall()
        assert ours == [("create_secret",), ("update_secret",)]
        store = SecretStore(connection, RingFile(tmp_path / FILE_NAME))
        store.create(NAME, "one")
        store.rotate(NAME, "two", overlap="1h")
        plane = ControlPlane(connection)
        connection.execute(
            "select * from connectors.register_connector_definition('github', 'x', '{}')"
        )
        plane.ensure_instance("a", "ipai_connector_github", {"token": f"${{secret:{NAME}}}"})
        run = plane.claim(plane.enqueue("a"), "worker")
        assert run is not None
        lease = (run.id, run.lease_token)
        asked = connection.execute(
            "select grant_id from connectors.request_secret(%s, %s, %s)", (*lease, NAME)
        ).fetchone()
        assert asked is not None
        row = connection.execute(
            "select connectors.read_secret(%s, %s, %s)", (*asked, *lease)
        ).fetchone()
        assert row is not None
        answer = row[0]
        assert (answer["value"], answer["previous"]) == ("two", {"value": "one"})
        assert store.rewrap() == 0
        assert not (tmp_path / FILE_NAME).exists()
        with pytest.raises(psycopg.Error, match="seals secrets itself"):
            connection.execute("select connectors.create_secret('a', sealed => '{}')")


@pytest.fixture
def keeper(server: Any, empty_database: str, migrated_template: str) -> Iterator[str]:
    """The address of a database for its owner, who is nobody special; the roles exist."""
    server.execute(sql.SQL("create role keeper login"))
    name = empty_database.split("@/")[1].split("?")[0]
    server.execute(sql.SQL("alter database {} owner to keeper").format(sql.Identifier(name)))
    dsn = empty_database.replace("postgres@", "keeper@")
    migrate(dsn)
    yield dsn
    server.drop(name)
    server.execute(sql.SQL("drop role keeper"))


@CLIENT
def test_an_owner_without_special_rights_keeps_secrets_too(keeper: str, ring: RingFile) -> None:
    """Such an owner cannot read the server's files: its clients seal, under forced row security."""
    with psycopg.connect(keeper, autocommit=True) as connection:
        store = SecretStore(connection, ring)
        assert not store.seals_itself()
        store.create(NAME, "one")
        connection.execute(
            "select * from connectors.register_connector_definition('github', 'x', '{}')"
        )
        plane = ControlPlane(connection)
        plane.ensure_instance("a", "ipai_connector_github", {"token": f"${{secret:{NAME}}}"})
        run = plane.claim(plane.enqueue("a"), "worker")
        assert run is not None
        lease = {"run_id": run.id, "lease_token": run.lease_token}

        reader = SecretReader(Database(keeper), "request", lease, lease, ring)
        assert reader([NAME]) == {NAME: "one"}
        assert verify(connection).rows == 3


@SERVER
def test_an_owner_that_may_read_the_key_file_seals_with_it(
    keeper: str, empty_database: str, ring: RingFile
) -> None:
    with psycopg.connect(keeper, autocommit=True) as connection:
        store = SecretStore(connection, ring)
        assert not store.seals_itself()
        with psycopg.connect(empty_database, autocommit=True) as administrator:
            administrator.execute(
                "grant pg_read_server_files to keeper;"
                "grant execute on function pg_read_file(text, bigint, bigint, boolean) to keeper"
            )
        store.create(NAME, VALUE)
        rows = connection.execute("select decrypted_secret from vault.decrypted_secrets")
        assert rows.fetchall() == [(VALUE,)]


@CLIENT
def test_an_older_control_plane_is_told_to_migrate(empty_database: str, ring: RingFile) -> None:
    with (
        psycopg.connect(empty_database, autocommit=True) as connection,
        pytest.raises(ConfigurationError, match="ipai db migrate"),
    ):
        SecretStore(connection, ring).all()
