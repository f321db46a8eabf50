# SPDX-License-Identifier: Apache-2.0
"""`meltano run tap-github target-bronze-postgres dbt:build` as from a fresh checkout."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from ipai_kit.spec import discover_connectors
from ipai_orchestrate import embedded
from ipai_orchestrate.sandbox import running_sandbox

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "github" not in discover_connectors() or not (ROOT / "meltano.yml").exists(),
        reason="needs the whole workspace",
    ),
]
SMALL = [
    "repos=1",
    "specials=false",
    "days=20",
    "issues_per_repo=6",
    "pulls_per_repo=4",
    "commits_per_repo=8",
    "runs_per_repo=4",
    "stars_per_repo=3",
    "deployments_per_repo=2",
    "releases_per_repo=2",
]


@pytest.fixture
def checkout(tmp_path):
    """What git would give, as far as Meltano and dbt read it."""
    for path in ["meltano.yml", *(str(p.relative_to(ROOT)) for p in ROOT.glob("t*/*/meltano.yml"))]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.fixture
def home():
    folder = Path(tempfile.mkdtemp(prefix="ipai-meltano-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        embedded.stop(folder, force=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sandbox():
    with running_sandbox("github", [w for one in SMALL for w in ("--option", one)]) as running:
        yield running


@pytest.fixture
def run(checkout, home, sandbox):
    config = sandbox.config()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("IPAI_", "MELTANO_"))}
    environment |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "IPAI_HOME": str(home),
        "IPAI_INSTANCE_ID": "github-shared",
        "IPAI_TRANSFORM_TARGET": str(home / "dbt"),
        "TAP_GITHUB_API_URL": sandbox.url,
        "TAP_GITHUB_ORGANIZATIONS": json.dumps(config["organizations"]),
        "TAP_GITHUB_AUTH_TOKEN": config["auth_token"],
        "THE_TOKEN": config["auth_token"],
    }

    def run_it(*command):
        before = sandbox.stats()["requests"]
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, (done.stdout + done.stderr)[-4000:]
        return sandbox.stats()["requests"] - before

    return run_it


def test_meltano_loads_all_layers_incrementally_and_shares_its_state_with_the_runner(
    run, sandbox, home
):
    meltano = ("meltano", "run", "--state-id-suffix", "github-shared")
    pipeline = ("tap-github", "target-bronze-postgres", "dbt:build")
    run("ipai", "db", "start")
    settings = {"organizations": sandbox.config()["organizations"], "api_url": sandbox.url}
    run(
        *("ipai", "instance", "add", "github-shared", "--connector", "github"),
        *(f"--set={name}={json.dumps(value).strip(chr(34))}" for name, value in settings.items()),
        "--set=auth_token=${THE_TOKEN}",
    )
    first = run(*meltano, *pipeline)
    sandbox.advance()
    second = run(*meltano, *pipeline[:2])
    third = run("ipai", "run", "github-shared", "--no-transform")

    assert second < first
    assert third <= second
    with embedded.open_database(home) as dsn, psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select record from ipai_bronze_devops.raw_github_issues"
            " where instance_id = 'github-shared' and deleted_at is null"
        ).fetchall()
        states = connection.execute("select instance_id from connectors.connector_state").fetchall()
        gold = connection.execute(
            "select count(*) from ipai_gold_devops.gold_devops_repository_activity"
        ).fetchone()
    truth = [one["record"] for one in sandbox.records("issues")]

    def by_id(record):
        return record["id"]

    assert sorted(truth, key=by_id) == sorted((record for (record,) in rows), key=by_id)
    assert [("github-shared",)] == states
    assert gold[0] > 0
