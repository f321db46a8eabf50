# SPDX-License-Identifier: Apache-2.0
"""A queue with instances of a scripted connector, and workers on it, here or in processes."""

import io
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from ipai_kit.spec import ConnectorSpec, StreamSpec
from ipai_kit.spec.model import Api, TermsOfService
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.pipeline import runner as runner_module
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipeline.transfer import Patience
from ipai_orchestrate.worker import Worker, WorkerOptions

TAP = """
import argparse, json, sys, time
parser = argparse.ArgumentParser()
for name in ("config", "state", "catalog"):
    parser.add_argument("--" + name)
given = parser.parse_args()
config = json.load(open(given.config))
state = json.load(open(given.state))
start = state.get("bookmarks", {}).get("issues", {}).get("replication_key_value", 0)
def say(**line):
    print(json.dumps(line), flush=True)
def read(number):
    say(type="RECORD", stream="issues", record={"id": number})
    say(type="STATE", value={"bookmarks": {"issues": {"replication_key_value": number}}})
"""

# Lands each record once per instance, as Bronze does, and counts how often it was delivered.
TARGET = """
import argparse, json, sys
import psycopg
parser = argparse.ArgumentParser()
parser.add_argument("--config")
config = json.load(open(parser.parse_args().config))
LAND = (
    "insert into landed values (%s, %s, 1) on conflict (instance, id)"
    " do update set deliveries = landed.deliveries + 1"
)
with psycopg.connect(config["database_url"], autocommit=True) as connection:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            connection.execute(LAND, (config["instance_id"], message["record"]["id"]))
            flushed = {"event": "flushed", "stream": "issues", "received": 1, "inserted": 1}
            print(json.dumps(flushed), file=sys.stderr, flush=True)
        elif message["type"] == "STATE":
            print(json.dumps(message["value"]), flush=True)
"""

# `ipai` as it is, except that it finds the scripted connector and has short leases.
IPAI = """
import sys
from types import SimpleNamespace
import ipai_orchestrate.catalog as catalog
catalog.DEFAULT_TARGET = "target-scripted"
import ipai_orchestrate.pipeline.runner as runner
runner.installed_connector = lambda _: SimpleNamespace(command="tap-scripted")
ours = {runner.LEASE_SECONDS: 5}
defaults = runner.RunOptions.__init__.__defaults__
runner.RunOptions.__init__.__defaults__ = tuple(
    ours.get(one, one) if isinstance(one, int) else one for one in defaults
)
from ipai_orchestrate.cli import main
main(sys.argv[1:])
"""


class Bench:
    """The queue, its instances, and the workers a test starts."""

    def __init__(self, dsn, folder, plane):
        self.dsn, self.folder, self.plane = dsn, folder, plane
        self.bin, self.work_root = folder / "bin", folder / "home" / "runs"
        self.bin.mkdir()
        (folder / "home").mkdir()
        self.children = []
        self.target(TARGET)

    def tap(self, body):
        self._script("tap-scripted", TAP + textwrap.dedent(body))

    def target(self, body):
        self._script("target-scripted", textwrap.dedent(body))

    def _script(self, name, text):
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def instances(self, count):
        names = [f"scripted-{number}" for number in range(count)]
        for name in names:
            self.plane.ensure_instance(name, "ipai_connector_scripted", {})
        return names

    def worker(self, stop=None, **options):
        """A worker of this process; its journal is `self.said`."""
        self.journal = io.StringIO()
        run = RunOptions(
            work_root=self.work_root,
            target="target-scripted",
            transform="nothing",
            patience=Patience(10.0, 60.0, 10.0),
            lease_seconds=options.pop("lease_seconds", 60),
        )
        chosen = {"poll_seconds": 0.5, "name": "here", **options}
        journal = Journal(self.journal, as_json=True, worker="here")
        return Worker(Database(self.dsn), WorkerOptions(run=run, **chosen), stop or Stop(), journal)

    def said(self, event):
        lines = [json.loads(line) for line in self.journal.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def ipai(self, *arguments, home="home", within=(), dsn=None):
        """Start `ipai` as a process of its own; `within` is what it is started by."""
        (self.folder / home).mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "IPAI_HOME": str(self.folder / home),
            "IPAI_DATABASE_URL": dsn or self.dsn,
            "PYTHONUNBUFFERED": "1",
        }
        log = (self.folder / f"{len(self.children)}.log").open("w")
        child = subprocess.Popen(
            [*within, sys.executable, "-c", IPAI, *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.children.append(child)
        return child

    def logs_of_children(self):
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def count(self, where="true"):
        with psycopg.connect(self.dsn) as connection:
            query = f"select count(*) from connectors.connector_runs where {where}"
            return connection.execute(query).fetchone()[0]

    def landed(self):
        with psycopg.connect(self.dsn) as connection:
            return connection.execute("select instance, id from landed order by 1, 2").fetchall()

    def connectors(self, home=""):
        """Processes whose work directory is that of a run of this bench."""
        place = str(self.folder / home)
        every = psutil.process_iter(["cwd"])
        return [one for one in every if (one.info["cwd"] or "").startswith(place)]

    @staticmethod
    def wait(condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited in vain for: {what}"
            time.sleep(0.05)
        return found


@pytest.fixture
def bench(database, control_plane, connection, tmp_path, monkeypatch):
    """An empty queue for a scripted connector."""
    spec = ConnectorSpec(
        spec_version=1,
        name="ipai_connector_scripted",
        source_type="scripted",
        title="Scripted",
        domain="devops",
        api=Api(version="1", docs_url="https://d", sunset=None, base_urls=("https://a",)),
        tos=TermsOfService(url="https://t", reviewed_at=datetime(2026, 1, 1, tzinfo=UTC).date()),
        auth_methods=(),
        sync_mode="incremental",
        schedule="0 * * * *",
        streams=(StreamSpec(name="issues", description="", sync_mode="incremental"),),
    )
    connection.execute(
        "create table landed (instance text, id integer, deliveries integer,"
        " primary key (instance, id))"
    )
    connection.execute("grant all on landed to ipai_worker")
    control_plane.register_definition("source_type: scripted", spec)
    bench = Bench(database, tmp_path, control_plane)
    monkeypatch.setenv("PATH", f"{bench.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(
        runner_module, "installed_connector", lambda _: SimpleNamespace(command="tap-scripted")
    )
    yield bench
    for child in bench.children:
        if child.poll() is None:
            child.kill()
        child.wait()


@pytest.fixture
def in_background():
    """Return a function that runs another in a thread, which is joined at the end."""
    threads = []

    def start(function):
        thread = threading.Thread(target=function)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(120)
