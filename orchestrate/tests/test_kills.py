# SPDX-License-Identifier: Apache-2.0
"""Kill -9 of tap, target, runner and Postgres, in any order, again and again; then run again.

IPAI_KILL_ROUNDS makes it longer.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from ipai_orchestrate import embedded
from ipai_orchestrate.sandbox import running_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IPAI = str(Path(sys.executable).with_name("ipai"))
ROUNDS = int(os.environ.get("IPAI_KILL_ROUNDS", "4"))
SMALL = ("repos=3", "days=60", "issues_per_repo=15", "pulls_per_repo=12", "commits_per_repo=30")
SMALLER = ("runs_per_repo=12", "stars_per_repo=10", "deployments_per_repo=3")


@pytest.fixture(scope="module")
def sandbox():
    options = [word for option in SMALL + SMALLER for word in ("--option", option)]
    with running_sandbox("github", [*options, "--option", "rate_limit=1000000"]) as running:
        yield running


class Installation:
    """A home of its own, and `ipai` as a user would call it there."""

    def __init__(self, home, sandbox):
        self.home = home
        self.sandbox = sandbox
        config = sandbox.config()
        self.canary = config["auth_token"]
        self.config = config | {"auth_token": "${THE_TOKEN}", "requests_per_second": 300}
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("IPAI_")
        } | {"IPAI_HOME": str(home), "THE_TOKEN": self.canary}

    def ipai(self, *arguments):
        done = subprocess.run(
            [IPAI, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stderr[-2000:]
        return done.stdout

    def add(self, instance_id):
        settings = self.home / "settings.json"
        settings.write_text(json.dumps(self.config))
        self.ipai("instance", "add", instance_id, "--connector", "github", "--config", settings)
        settings.unlink()

    def start(self, instance_id):
        return subprocess.Popen(
            [IPAI, "run", instance_id, "--no-transform", "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, instance_id):
        with self.start(instance_id) as run:
            out, err = run.communicate(timeout=120)
        assert 0 == run.returncode, err.decode()[-3000:]
        return json.loads(out)

    def ours(self, *names):
        """Running processes whose work directory lies in this home."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or ())
            here = (process.info["cwd"] or "").startswith(str(self.home))
            if any(name in line for name in names) and here:
                found.append(process)
        return found


@contextmanager
def installed(sandbox):
    home = Path(tempfile.mkdtemp(prefix="ipai-kill-"))
    home.chmod(0o711)
    try:
        yield Installation(home, sandbox)
    finally:
        embedded.stop(home, force=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def installation(sandbox):
    with installed(sandbox) as place:
        yield place


@pytest.fixture(scope="module")
def whole_load(sandbox):
    """What a first load comes to that nobody disturbs."""
    with installed(sandbox) as place:
        place.add("clean")
        return place.finish("clean")


def kill_at(installation, run, victim, requests):
    """Wait for that many requests, then kill; False when the run was over before."""
    before = installation.sandbox.stats()["requests"]
    while run.poll() is None:
        if installation.sandbox.stats()["requests"] - before >= requests:
            return kill(installation, run, victim)
        time.sleep(0.02)
    return False


def kill(installation, run, victim):
    if victim == "runner":
        run.kill()
        return True
    if victim == "postgres":
        pid = embedded.status(installation.home).pid
    else:
        found = installation.ours("/tap-github" if victim == "tap" else "/target-bronze-postgres")
        pid = found[0].pid if found else None
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def no_connector_lives(installation):
    deadline = time.monotonic() + 10
    while alive := installation.ours("tap-github", "target-bronze-postgres"):
        assert time.monotonic() < deadline, [p.cmdline() for p in alive]
        time.sleep(0.05)
    return True


def differences(installation, instance_id):
    """Streams where Bronze is not exactly what the stand-in says is true."""
    wrong = {}
    with embedded.open_database(installation.home) as dsn, psycopg.connect(dsn) as connection:
        for stream in installation.sandbox.streams():
            table = f"ipai_bronze_devops.raw_github_{stream}"
            if connection.execute("select to_regclass(%s)", (table,)).fetchone()[0] is None:
                continue
            rows = connection.execute(
                f"select record_key, record from {table}"
                " where instance_id = %s and deleted_at is null",
                (instance_id,),
            ).fetchall()
            landed = dict(rows)
            truth = {
                json.dumps(one["key"], separators=(",", ":"), ensure_ascii=False): one["record"]
                for one in installation.sandbox.records(stream)
            }
            if landed != truth:
                wrong[stream] = (len(rows), len(truth))
    return wrong


def files_that_name(folder, canary):
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]


def test_bronze_is_exact_after_kills_of_everything_in_any_order(installation):
    luck = random.Random(7)
    installation.ipai("db", "start")
    kills = {"tap": 0, "target": 0, "runner": 0, "postgres": 0}
    for round_number in range(ROUNDS):
        instance_id = f"killed-{round_number}"
        installation.add(instance_id)
        order = list(kills)
        luck.shuffle(order)
        for victim in order:
            with installation.start(instance_id) as run:
                done = kill_at(installation, run, victim, luck.randint(0, 60))
                run.communicate(timeout=180)
            kills[victim] += done
            assert no_connector_lives(installation)
        installation.finish(instance_id)

        assert {} == differences(installation, instance_id)
    assert no_connector_lives(installation)
    assert [] == list((installation.home / "runs").iterdir())
    assert [] == files_that_name(installation.home, installation.canary)
    assert all(count >= ROUNDS * 0.5 for count in kills.values()), kills


@pytest.mark.parametrize("victim", ["tap", "target", "runner", "postgres"])
def test_a_kill_in_the_middle_of_a_first_load_is_made_good_by_the_next_run(
    installation, whole_load, victim
):
    requests = sum(stream["requests"] for stream in whole_load["streams"])
    installation.add("killed")
    with installation.start("killed") as run:
        assert kill_at(installation, run, victim, requests // 2)
        run.communicate(timeout=180)
    again = installation.finish("killed")

    assert {} == differences(installation, "killed")
    assert again["rows_processed"] <= whole_load["rows_processed"]
