# SPDX-License-Identifier: Apache-2.0
"""Dead letters: what was delivered but could not be landed, kept to be replayed."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from ipai_kit.landing.batch import DeadLetter
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import Connection, TableName, ensure_schema, table_exists

_CONTROL_PLANE: Final = sql.Identifier("connectors", "dead_letters")
_OWN: Final = TableName("ipai_bronze_core", "dead_letters")


def bury(
    connection: Connection, letters: Sequence[DeadLetter], *, instance_id: str, run_id: str | None
) -> None:
    """Store letters in the control plane, or in a table of our own where there is none."""
    row = connection.execute(statement("find_dead_letters")).fetchone()
    if row and row[0]:
        try:
            with connection.transaction():
                _insert(connection, _CONTROL_PLANE, letters, instance_id, run_id)
        except psycopg.errors.InsufficientPrivilege:
            pass  # its row-level security keeps this role out
        else:
            return
    connection.execute(statement("lock_definitions"))
    ensure_schema(connection, _OWN.schema)
    if not table_exists(connection, _OWN):
        connection.execute(statement("create_dead_letters", dead_letters=_OWN.identifier))
    _insert(connection, _OWN.identifier, letters, instance_id, run_id)


def _insert(
    connection: Connection,
    table: sql.Identifier,
    letters: Sequence[DeadLetter],
    instance_id: str,
    run_id: str | None,
) -> None:
    insert = statement("bury", dead_letters=table)
    for letter in letters:
        values = {
            "instance_id": instance_id,
            "run_id": run_id,
            "source": letter.source,
            "stream": letter.stream,
            "reason": letter.reason,
            "error": letter.error.replace("\0", ""),
            "raw": letter.raw,
        }
        connection.execute(insert, values)
