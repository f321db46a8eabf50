# SPDX-License-Identifier: Apache-2.0
"""The register of releases for Python: thin methods over its SQL functions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane import EnsuredInstance
from ipai_orchestrate.control_plane.queries import fetch_records, load_queries
from ipai_orchestrate.releases.instance_file import DeclaredInstance
from ipai_orchestrate.releases.records import (
    LiveDefinition,
    LiveInstance,
    Promotion,
    Release,
    Rollback,
)

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_Record = TypeVar("_Record")


class ReleaseRegister:
    """Calls the register on a connection the caller owns."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def one_at_a_time(self) -> None:
        """Let nobody else apply until the caller's transaction ends."""
        self.connection.execute(_QUERIES["one_at_a_time"])

    def definitions(self) -> dict[str, LiveDefinition]:
        """The newest version of each spec, by definition id."""
        return {one.id: one for one in self._all(LiveDefinition, "definitions", {})}

    def instances(self) -> dict[str, LiveInstance]:
        """All instances by id."""
        return {one.id: one for one in self._all(LiveInstance, "instances", {})}

    def apply_instance(self, instance: DeclaredInstance, version: int) -> EnsuredInstance:
        """Bring an instance to what its file declares."""
        arguments = {
            "instance_id": instance.id,
            "definition_id": instance.definition_id,
            "config": Jsonb(instance.config),
            "env": instance.env,
            "declared_in": instance.file,
            "schedule": instance.schedule,
            "definition_version": version,
            "status": instance.status,
        }
        return self._all(EnsuredInstance, "apply_instance", arguments)[0]

    def retire(self, instance_id: str) -> None:
        """Pause an instance that no file declares any more."""
        self._all(_Status, "retire", {"instance_id": instance_id})

    def promote(
        self, instance_id: str, to_env: str = "production", target_id: str | None = None
    ) -> Promotion:
        """Take an instance's spec version to another environment."""
        arguments = {"instance_id": instance_id, "to_env": to_env, "target_id": target_id}
        return self._all(Promotion, "promote", arguments)[0]

    def rollback(
        self,
        instance_id: str,
        to_version: int | None = None,
        *,
        to_release: int | None = None,
        keep_state: bool = False,
    ) -> Rollback:
        """Go back to an earlier version of the spec, or a release, with its settings and state."""
        arguments = {
            "instance_id": instance_id,
            "to_version": to_version,
            "to_release": to_release,
            "keep_state": keep_state,
        }
        return self._all(Rollback, "rollback", arguments)[0]

    def releases(self, instance_id: str, limit: int = 50) -> list[Release]:
        """List the releases of an instance, newest first."""
        return self._all(Release, "releases", {"instance_id": instance_id, "max_rows": limit})

    def _all(
        self, record: type[_Record], query: str, arguments: Mapping[str, Any]
    ) -> list[_Record]:
        return fetch_records(self.connection, record, _QUERIES[query], arguments)


class _Status:
    def __init__(self, status: str) -> None:
        self.status = status
