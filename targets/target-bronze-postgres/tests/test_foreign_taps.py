# SPDX-License-Identifier: Apache-2.0
"""Published taps of other makers, each in an environment of its own, piped into the command."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Make = Callable[..., Any]


def environment(folder: Path, *packages: str) -> Path:
    """A throw-away environment; skips where the packages cannot be had."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is needed to make an environment for a foreign tap")
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "-q", "-p", str(folder), *packages]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{', '.join(packages)} cannot be installed here: {done.stderr.strip()[-200:]}")
    return folder / "bin"


@pytest.fixture(scope="module")
def tap_jsonl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdk") / "venv"
    return environment(folder, "tap-jsonl")


@pytest.fixture(scope="module")
def singer_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("singer") / "venv", "singer-python")


def pipe(tmp_path: Path, tap: list[str], dsn: str, **config: Any) -> list[Any]:
    """`tap | target-bronze-postgres` by a kernel pipe; returns the STATEs."""
    settings = tmp_path / "target.json"
    settings.write_text(json.dumps({"database_url": dsn, **config}))
    target = [sys.executable, "-m", "target_bronze_postgres", "--config", str(settings)]
    with subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        done = subprocess.run(target, stdin=source.stdout, capture_output=True, check=False)
    assert (source.returncode, done.returncode) == (0, 0), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def write_rows(path: Path, ids: range) -> None:
    path.write_text("".join(f'{{"id":{n},"v":"caf\\u00e9 {n}","n":{n}.5}}\n' for n in ids))


def full_table_catalog(tap: list[str], path: Path) -> str:
    found = subprocess.run([*tap, "--discover"], check=True, capture_output=True)
    catalog = json.loads(found.stdout)
    for stream in catalog["streams"]:
        stream.pop("replication_key", None)
        stream["replication_method"] = "FULL_TABLE"
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = True
            if not entry["breadcrumb"]:
                entry["metadata"]["forced-replication-method"] = "FULL_TABLE"
    path.write_text(json.dumps(catalog))
    return str(path)


def alive(bronze: Any, stream: str) -> list[int]:
    query = f"""select (record->'id')::int from ipai_bronze_core.raw_foreign_{stream}
        where deleted_at is null order by 1"""
    return [row[0] for row in bronze.query(query)]


@pytest.mark.parametrize("mode", ["records", "versions", "batches"])
def test_a_singer_sdk_tap_lands_by_records_versions_and_files(
    bronze: Any, tap_jsonl: Path, tmp_path: Path, mode: str
) -> None:
    config: dict[str, Any] = {
        "path": str(tmp_path / "rows.jsonl"),
        "stream_name": "rows",
        "primary_keys": ["id"],
        "emit_activate_version_messages": mode == "versions",
    }
    if mode == "batches":
        config["batch_config"] = {
            "encoding": {"format": "jsonl", "compression": "gzip"},
            "storage": {"root": tmp_path.as_uri(), "prefix": "part-"},
        }
    (tmp_path / "tap.json").write_text(json.dumps(config))
    tap = [str(tap_jsonl / "tap-jsonl"), "--config", str(tmp_path / "tap.json")]
    write_rows(tmp_path / "rows.jsonl", range(100))
    if mode == "versions":
        tap += ["--catalog", full_table_catalog(tap, tmp_path / "catalog.json")]

    pipe(tmp_path, tap, bronze.dsn, source="foreign")
    assert alive(bronze, "rows") == list(range(100))
    write_rows(tmp_path / "rows.jsonl", range(50, 150))
    if mode == "versions":  # singer-sdk's versions are seconds
        time.sleep(1.1)
    pipe(tmp_path, tap, bronze.dsn, source="foreign")

    expected = range(50, 150) if mode == "versions" else range(150)
    assert alive(bronze, "rows") == list(expected)
    assert bronze.value("select min(record->>'v') from ipai_bronze_core.raw_foreign_rows") in {
        "café 0",
        "café 100",
    }


SINGER_PYTHON_TAP = """
import sys, decimal, singer
version, *ids = map(int, sys.argv[1:])
schema = {"type": "object", "properties": {"id": {"type": "integer"}, "v": {"type": "number"}}}
singer.write_schema("rows", schema, ["id"])
for number in ids:
    value = decimal.Decimal("12345678901234567890.5")
    singer.write_message(singer.RecordMessage("rows", {"id": number, "v": value}, version=version,
        time_extracted=singer.utils.now()))
singer.write_version("rows", version)
singer.write_state({"currently_syncing": None, "bookmarks": {"rows": {"version": version}}})
"""


def test_a_singer_python_tap_replaces_its_table_by_versions(
    bronze: Any, singer_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "tap.py").write_text(SINGER_PYTHON_TAP)
    tap = [str(singer_python / "python"), str(tmp_path / "tap.py")]

    first = pipe(tmp_path, [*tap, "1", "1", "2", "3"], bronze.dsn, source="foreign")
    second = pipe(tmp_path, [*tap, "2", "2", "3", "4"], bronze.dsn, source="foreign")

    assert [states[-1]["bookmarks"]["rows"]["version"] for states in (first, second)] == [1, 2]
    assert alive(bronze, "rows") == [2, 3, 4]
