# SPDX-License-Identifier: Apache-2.0
"""Where unfinished generations keep their keys, so that a killed run can be taken up again.

An identical record writes nothing to its table, so the table cannot tell which generation it was
last seen in. The keys of the newest unfinished generation wait in a table of their own beside it;
a row per stream says which version is active, for taps that activate the same version every run.
"""

from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from ipai_kit.landing.batch import StreamBatch
from target_bronze_postgres.binary import text_array
from target_bronze_postgres.settings import Settings
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import BronzeTable, Connection, TableName, table_exists

_GENERATIONS: Final = "ipai_generations"
_KEYS: Final = "ipai_generation_keys"


@dataclass(frozen=True)
class GenerationStore:
    """Generations of the streams of one schema, within an open transaction."""

    connection: Connection
    settings: Settings

    def remember(self, table: BronzeTable, stream: StreamBatch) -> None:
        """Keep the keys of a generation that is not active yet."""
        if not stream.generation_keys:
            return
        active = self._open(table, stream)
        newest = max(stream.generation_keys)
        if active is not None and newest <= active:
            return
        values = {**self._owner(stream), "version": newest}
        self._execute(table, "forget_older_keys", values)
        keys = {**values, "keys": text_array(list(stream.generation_keys[newest]))}
        self._execute(table, "add_generation_keys", keys)

    def complete(self, table: BronzeTable, stream: StreamBatch, version: int) -> int:
        """Delete, or mark, the rows that a complete generation no longer delivered."""
        active = self._open(table, stream)
        if active is not None and version <= active:
            return 0
        values = {**self._owner(stream), "version": version}
        self.connection.execute(statement("free_planner"))
        how = "delete_retired" if self.settings.hard_delete else "mark_retired"
        retired = self._execute(table, how, {**values, "run_id": self.settings.run_id})
        self._execute(table, "forget_keys", values)
        self._execute(table, "set_active_version", values)
        self.connection.execute(statement("transaction_settings"))
        return retired

    def _open(self, table: BronzeTable, stream: StreamBatch) -> int | None:
        """The active version; creates the tables when a schema sees its first generation."""
        if not table.has_generations:
            self.connection.execute(statement("lock_definitions"))
            for name in (_GENERATIONS, _KEYS):
                if not table_exists(self.connection, TableName(table.name.schema, name)):
                    self._execute(table, f"create_{name.removeprefix('ipai_')}", {})
            table.has_generations = True
        query = statement("active_version", **_names(table))
        row = self.connection.execute(query, self._owner(stream)).fetchone()
        return row[0] if row else None

    def _execute(self, table: BronzeTable, name: str, values: dict[str, Any]) -> int:
        return self.connection.execute(statement(name, **_names(table)), values or None).rowcount

    def _owner(self, stream: StreamBatch) -> dict[str, Any]:
        return {
            "instance_id": self.settings.instance_id,
            "source": stream.plan.source,
            "stream": stream.plan.stream,
        }


def _names(table: BronzeTable) -> dict[str, sql.Composable]:
    return {
        "table": table.name.identifier,
        "generations": sql.Identifier(table.name.schema, _GENERATIONS),
        "keys": sql.Identifier(table.name.schema, _KEYS),
    }
