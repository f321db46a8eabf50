# SPDX-License-Identifier: Apache-2.0
"""Changing keys under readers; and nothing plain at rest."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ipai_orchestrate.embedded.binaries import find_binaries
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.secrets import RingFile, SecretStore, verify

Connection = psycopg.Connection[Any]

CLIENT = pytest.mark.parametrize("ring", ["client"], indirect=True)
SERVER = pytest.mark.parametrize("ring", ["server"], indirect=True)
NAME = "github-acme/token"
VALUE = "canary-5ecret-\u00fc/+value"


def test_a_new_key_takes_over_while_workers_read(
    store: SecretStore, ring: RingFile, make_worker: Callable[..., Any]
) -> None:
    names = [f"secret/{number}" for number in range(3)]
    for name in names:
        store.create(name, f"value of {name}")
    store.rotate(names[0], f"value of {names[0]}", overlap="1h")
    workers = [make_worker(f"instance-{number}", name) for number, name in enumerate(names)]
    first = ring.read().newest
    done, wrong, reads = threading.Event(), [], [0, 0, 0]

    def read(number: int) -> None:
        try:
            while not done.is_set():
                # A file that grows is read anew by who starts anew.
                got = workers[number].reader(ring)([names[number]])
                assert got == {names[number]: f"value of {names[number]}"}
                reads[number] += 1
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    rewrapped = []
    for _ in range(4):
        before = list(reads)
        ring.replace(ring.read().with_new_key())
        rewrapped.append(store.rewrap())
        while not wrong and any(now <= then for now, then in zip(reads, before, strict=True)):
            done.wait(0.01)
    done.set()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert rewrapped == [4, 4, 4, 4]
    assert store.rewrap() == 0
    assert {one.key_id for one in store.key_uses()} == {ring.read().newest}
    ring.replace(ring.read().only([]))
    assert first not in ring.read().keys
    assert workers[0].reader(ring)([names[0]]) == {names[0]: f"value of {names[0]}"}
    assert verify(store._connection).intact


@CLIENT
def test_a_key_that_was_sealed_anew_never_replaces_a_newer_value(
    store: SecretStore, ring: RingFile, connection: Connection
) -> None:
    store.create(NAME, "one")
    row = connection.execute("select id, secret, key_id from vault.secrets").fetchone()
    assert row is not None
    call = "select connectors.store_rewrapped_secret(%s, %s, %s, %s)"
    other = row[1].replace("gcm1.", "gcm1.A")

    assert connection.execute(call, (row[0], other, other, row[2])).fetchone() == (False,)
    with pytest.raises(psycopg.Error, match="would get another value"):
        connection.execute(call, (row[0], row[1], row[1] + "A", row[2]))


def test_nothing_the_server_writes_contains_a_value(
    store: SecretStore, ring: RingFile, worker: Any, connection: Connection, server: Any
) -> None:
    """Every table as COPY gives it, and every byte of data, write-ahead log and server log."""
    value = f"canary-{uuid4()}"
    store.create(NAME, value)
    store.rotate(NAME, value, overlap="1h")
    assert worker.reader(ring)([NAME]) == {NAME: value}
    store.rotate(NAME, value)
    connection.execute("checkpoint")
    tables = connection.execute(
        "select quote_ident(n.nspname) || '.' || quote_ident(c.relname) from pg_class as c"
        " join pg_namespace as n on n.oid = c.relnamespace where c.relkind in ('r', 'm')"
    ).fetchall()
    written = {table: copied(connection, table) for (table,) in tables}
    row = connection.execute(
        "select oid::text from pg_database where datname = current_database()"
    ).fetchone()
    assert row is not None
    folder = home_of(server.home).server
    for place in (folder / "server.log", folder / "data" / "pg_wal", folder / "data/base" / row[0]):
        for path in [place, *place.rglob("*")]:
            if path.is_file():
                written[str(path)] = path.read_bytes()

    assert len(tables) > 60
    assert any(b"gcm1." in data or b"pgp1." in data for data in written.values())
    key = next(iter(ring.read().keys.values()))
    for form in (value.encode(), value.encode().hex().encode(), key, base64.b64encode(key)):
        assert [place for place, data in written.items() if form in data] == []


def copied(connection: Connection, table: str) -> bytes:
    """A table as a dump has it."""
    with connection.cursor().copy(f"copy {table} to stdout".encode()) as copy:
        return b"".join(bytes(block) for block in copy)


def test_pg_dump_contains_no_value(
    store: SecretStore, ring: RingFile, database: str, tmp_path: Path
) -> None:

    tool = find_binaries().tool("pg_dump")
    if not tool.exists():
        pytest.skip("these binaries come without pg_dump")
    store.create(NAME, VALUE)
    dump = subprocess.run([tool, database], capture_output=True, check=True).stdout

    assert NAME.encode() in dump
    assert VALUE.encode() not in dump
