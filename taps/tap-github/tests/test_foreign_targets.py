# SPDX-License-Identifier: Apache-2.0
"""Targets that others wrote take what the tap writes, unchanged."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipai_kit.testing import SandboxUrl, running_sandbox

BIN = Path(sys.executable).parent
STREAMS = ("repositories", "labels", "issues", "pull_requests", "commits", "workflow_runs")
SIZES = {"repos": 1, "issues_per_repo": 8, "pulls_per_repo": 8, "commits_per_repo": 10}

pytestmark = pytest.mark.slow


def found(command: str) -> str | None:
    return shutil.which(command, path=f"{BIN}{os.pathsep}{os.environ['PATH']}")


def installed(package: str, command: str, folder: Path) -> str:
    """A target in an environment of its own, thrown away after the test."""
    uv = found("uv")
    if uv is None:
        pytest.skip("uv is not installed: no environment can be made for the target.")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([uv, "venv", "-q", "-p", version, str(folder)], check=True)
    python = str(folder / "bin" / "python")
    done = subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, package], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"{package} cannot be installed: {done.stderr.strip()[-200:]}")
    return str(folder / "bin" / command)


@pytest.fixture(scope="module")
def github() -> Iterator[SandboxUrl]:
    with running_sandbox("github", **SIZES, specials=False) as url:
        yield url


def piped(url: SandboxUrl, target: list[str], folder: Path) -> None:
    """Run tap | target as a shell does."""
    config = folder / "config.json"
    config.write_text(json.dumps(url.config()))
    tap = [str(BIN / "tap-github"), "--config", str(config)]
    discovered = subprocess.run([*tap, "--discover"], capture_output=True, check=True)
    catalog = json.loads(discovered.stdout)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = stream["tap_stream_id"] in STREAMS
    (folder / "catalog.json").write_text(json.dumps(catalog))
    tap += ["--catalog", str(folder / "catalog.json")]
    with subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        done = subprocess.run(target, stdin=source.stdout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert source.returncode == 0
    assert "bookmarks" in done.stdout.splitlines()[-1]  # the STATE came back


def test_target_jsonl_writes_every_record(github: SandboxUrl, tmp_path: Path) -> None:
    target = installed("target-jsonl==0.1.4", "target-jsonl", tmp_path / "venv")
    out = tmp_path / "out"
    out.mkdir()
    settings = {"destination_path": str(out), "do_timestamp_file": False}
    (tmp_path / "target.json").write_text(json.dumps(settings))
    piped(github, [target, "--config", str(tmp_path / "target.json")], tmp_path)

    for stream in STREAMS:
        lines = (out / f"{stream}.jsonl").read_text("utf-8").splitlines()
        written = sorted(map(json.loads, lines), key=lambda one: one["node_id"])
        truth = sorted(github.records(stream), key=lambda one: one["node_id"])
        assert written == truth, stream


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """A Postgres of its own, started by our command line."""
    ipai = found("ipai")
    if ipai is None:
        pytest.skip("The package stands alone: no command 'ipai' starts a Postgres.")
    env = {**os.environ, "IPAI_HOME": str(tmp_path / "home")}
    env.pop("IPAI_DATABASE_URL", None)
    subprocess.run([ipai, "db", "start"], env=env, check=True, capture_output=True)
    try:
        url = subprocess.run([ipai, "db", "url"], env=env, check=True, capture_output=True)
        yield url.stdout.decode().strip()
    finally:
        subprocess.run([ipai, "db", "stop"], env=env, check=True, capture_output=True)


def test_meltanolabs_target_postgres_loads_every_record(
    github: SandboxUrl, database: str, tmp_path: Path
) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg reads back what was loaded.")
    package = "meltanolabs-target-postgres==0.8.1"
    target = installed(package, "target-postgres", tmp_path / "venv")
    settings = {
        "sqlalchemy_url": database.replace("postgresql://", "postgresql+psycopg://"),
        "default_target_schema": "landed",
    }
    (tmp_path / "target.json").write_text(json.dumps(settings))
    piped(github, [target, "--config", str(tmp_path / "target.json")], tmp_path)

    with psycopg.connect(database) as connection:
        for stream in STREAMS:
            rows = connection.execute(f"select node_id from landed.{stream}").fetchall()
            assert {row[0] for row in rows} == {one["node_id"] for one in github.records(stream)}
        query = "select number, labels, _is_pull_request from landed.issues"
        landed = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    for issue in github.records("issues"):
        labels, flagged = landed[issue["number"]]
        names = [json.loads(one)["name"] if isinstance(one, str) else one["name"] for one in labels]
        assert names == [one["name"] for one in issue["labels"]]
        assert flagged is issue["_is_pull_request"]
