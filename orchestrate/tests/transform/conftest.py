# SPDX-License-Identifier: Apache-2.0
"""A database with Bronze tables as the target makes them, and dbt on the repository's project."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.transform import TransformResult, run_dbt

REPOSITORY = Path(__file__).resolve().parents[3]
_BRONZE = """
    create table if not exists ipai_bronze_devops.raw_github_{stream} (
        instance_id text collate "C" not null, record_key text collate "C" not null,
        record jsonb not null, emitted_at timestamptz not null, source text not null,
        stream text not null, cursor text collate "C", run_id text,
        loaded_at timestamptz not null default now(), deleted_at timestamptz,
        record_hash bigint not null {key}
    )
"""
_ROW = """
    insert into ipai_bronze_devops.raw_github_{stream}
        (instance_id, record_key, record, emitted_at, source, stream, cursor, run_id, loaded_at,
         deleted_at, record_hash)
    values (%s, %s, %s, %s, 'github', %s, %s, %s, coalesce(%s, now()), %s, %s)
"""
_UPSERT = """
    on conflict (instance_id, record_key) do update
    set record = excluded.record, emitted_at = excluded.emitted_at, cursor = excluded.cursor,
        run_id = excluded.run_id, loaded_at = excluded.loaded_at, deleted_at = excluded.deleted_at,
        record_hash = excluded.record_hash
"""


@dataclass
class Warehouse:
    """One database from Bronze to Gold."""

    dsn: str
    connection: psycopg.Connection[tuple[Any, ...]]

    def create(self, stream: str, *, append: bool = False) -> None:
        """Make a Bronze table; with `append`, one that keeps every version."""
        key = "" if append else ", primary key (instance_id, record_key)"
        self.connection.execute(_BRONZE.format(stream=stream, key=key))

    def land(
        self,
        stream: str,
        record: dict[str, Any],
        key: list[Any],
        *,
        instance: str = "one",
        emitted: str = "2026-02-01",
        cursor: str | None = None,
        loaded: str | None = None,
        deleted: str | None = None,
        append: bool = False,
    ) -> None:
        """Store one record as the target would."""
        text = json.dumps(record)
        self.connection.execute(
            _ROW.format(stream=stream) + ("" if append else _UPSERT),
            (
                instance,
                json.dumps(key),
                text,
                emitted,
                stream,
                cursor,
                "run-1",
                loaded,
                deleted,
                hash(text),
            ),
        )

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values or None).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        return self.rows(query, *values)[0][0]

    def build(self, *streams: str, **options: Any) -> TransformResult:
        """Run dbt for what depends on these streams, or with the given options."""
        pairs = [("github", stream) for stream in streams]
        return run_dbt(self.dsn, streams=pairs or None, **options)

    def build_ok(self, *streams: str, **options: Any) -> TransformResult:
        result = self.build(*streams, **options)
        assert result.ok, result.summary()
        return result


@pytest.fixture(scope="module")
def dbt_output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep dbt's artifacts out of the repository; kept for the module, so that dbt parses once."""
    output = tmp_path_factory.mktemp("dbt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPAI_TRANSFORM_TARGET", str(output))
        # dbt is not ours to measure, and measuring makes it slower.
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            patch.delenv(name, raising=False)
        yield output


@pytest.fixture(scope="module")
def warehouse(server: Any, migrated_template: str, dbt_output: Path) -> Iterator[Warehouse]:
    """A migrated database without any Bronze table."""
    name = server.create(migrated_template)
    dsn = server.dsn_of(name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Warehouse(dsn, connection)
    server.drop(name)


@pytest.fixture(scope="module")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repository's dbt project with three Silver models only: dbt parses it at once."""
    folder = tmp_path_factory.mktemp("small") / "transform"
    unwanted = ("target", "logs", "gold", "odoo", "assert_odoo_*")
    shutil.copytree(REPOSITORY / "transform", folder, ignore=shutil.ignore_patterns(*unwanted))
    shutil.copytree(REPOSITORY / "transform/macros/gold", folder / "macros/gold")
    for path in (folder / "models/silver/github").iterdir():
        if path.stem not in {"github_issues", "github_labels", "github_milestones", "_sources"}:
            path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPAI_TRANSFORM_DIR", str(folder))
        yield folder


@pytest.fixture
def project_copy(small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project, to be changed."""
    copy = tmp_path / "transform"
    shutil.copytree(small_project, copy)
    monkeypatch.setenv("IPAI_TRANSFORM_DIR", str(copy))
    return copy


@pytest.fixture
def write_stream(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a stream contract and gives the folder of schemas."""

    def write(stream: str, properties: dict[str, Any], keys: list[str], **marks: Any) -> Path:
        folder = tmp_path / "schemas" / "streams" / "shop"
        folder.mkdir(parents=True, exist_ok=True)
        ours = {"source": "shop", "domain": "erp", "key_properties": keys, **marks}
        schema = {"type": "object", "x-ipai": ours, "properties": properties}
        (folder / f"{stream}.json").write_text(json.dumps(schema))
        return tmp_path / "schemas"

    return write
