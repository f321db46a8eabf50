# SPDX-License-Identifier: Apache-2.0
"""The demo, quick with dbt left out, and once whole with kills in between."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from ipai_kit.spec import discover_connectors
from ipai_orchestrate import embedded
from ipai_orchestrate.demo import live_plan, sandbox_plan, story, tell
from ipai_orchestrate.demo.plan import FRUGAL_STREAMS, DemoFile
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipeline import runner as runner_module
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.sandbox import running_sandbox
from ipai_orchestrate.transform import TransformResult

pytestmark = pytest.mark.skipif(
    "github" not in discover_connectors(), reason="needs tap-github in the same environment"
)
SIZE = 1


@pytest.fixture
def told(database, tmp_path, monkeypatch):
    """Tell the demo without dbt; returns the exit code and what was said."""
    monkeypatch.setenv("IPAI_HOME", str(tmp_path))
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def fake(dsn, **asked):
        return TransformResult(ok=True)

    monkeypatch.setattr(runner_module, "run_dbt", fake)

    def tell_it(plan, stop=None, *, console=Console, **how):
        screen = console(file=io.StringIO(), width=160)
        code = tell(screen, Database(database), plan, stop or Stop(), **how)
        return code, screen.file.getvalue()

    return tell_it


def landed(dsn, instance_id):
    """Every row of Bronze by stream and key."""
    rows = {}
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "select relname from pg_class where relkind = 'r' and relname like 'raw\\_github\\_%'"
        ).fetchall()
        for (table,) in tables:
            found = connection.execute(
                f"select record_key, record from ipai_bronze_devops.{table}"
                " where instance_id = %s and deleted_at is null",
                (instance_id,),
            ).fetchall()
            rows[table.removeprefix("raw_github_")] = dict(found)
    return {stream: found for stream, found in rows.items() if found}


def truth(sandbox, streams):
    return {
        stream: {
            json.dumps(one["key"], separators=(",", ":"), ensure_ascii=False): one["record"]
            for one in sandbox.records(stream)
        }
        for stream in streams
    }


def test_the_demo_tells_what_it_does_and_what_came_of_it(told, database):
    code, said = told(sandbox_plan(SIZE))

    assert 0 == code
    for words in (
        "1/5 A database",
        "2/5 A source",
        "3/5 First sync",
        "4/5 Second sync",
        "records changed, among them",
        "5/5 The result",
        "New in sync 2",
        "ipai db psql",
        "Try next",
    ):
        assert words in said, words
    first = landed(database, "github-demo")
    with running_sandbox("github", ["--option", f"repos={SIZE}"]) as sandbox:
        sandbox.advance()
        assert truth(sandbox, first) == first


def test_a_finished_demo_starts_from_nothing_the_next_time(told, database):
    told(sandbox_plan(SIZE))
    first = landed(database, "github-demo")
    code, said = told(sandbox_plan(SIZE))

    assert (0, first) == (code, landed(database, "github-demo"))
    assert "not finished" not in said


def test_a_stopped_demo_says_how_to_go_on_and_does_so(told, database, monkeypatch):
    stop = Stop()
    monkeypatch.setattr(story.Sandbox, "advance", lambda *_: stop.request(signal.SIGINT) or {})
    code, said = told(sandbox_plan(SIZE), stop)

    assert 130 == code
    assert "Start the same demo again to go on." in said
    monkeypatch.undo()


def test_a_kept_demo_leaves_the_stand_in_until_it_is_stopped(told):
    stop = Stop()
    asked = Console.print

    class Reader(Console):
        def print(self, *words, **how):
            if "Kept running" in str(words):
                stop.request(signal.SIGINT)
            return asked(self, *words, **how)

    code, said = told(sandbox_plan(SIZE), stop, keep=True, console=Reader)

    assert 0 == code
    assert "ipai run github-demo" in said
    assert "_sandbox/advance" in said


def test_the_live_demo_reads_one_repository_twice(told, database, monkeypatch):
    with running_sandbox("github", ["--option", f"repos={SIZE}"]) as sandbox:
        name = sandbox.records("repositories")[0]["record"]["full_name"]
        monkeypatch.setenv("GITHUB_TOKEN", sandbox.config()["auth_token"])
        code, said = told(live_plan(name, sandbox.url))

    assert 0 == code
    assert f"{name} at GitHub, with GITHUB_TOKEN" in said
    slug = name.replace("/", "-").replace(".", "-")
    assert 1 == len(landed(database, f"github-live-{slug}")["repositories"])


def test_without_a_token_the_live_demo_asks_little_and_does_not_wait(monkeypatch):
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    plan = live_plan("Octokit/rest.js")

    assert ("github-live-octokit-rest-js", FRUGAL_STREAMS) == (plan.instance_id, plan.streams)
    assert {"repositories": ["Octokit/rest.js"], "max_wait_seconds": 0} == plan.settings


def test_a_live_demo_needs_a_repository():
    with pytest.raises(ConfigurationError, match="of the form owner/name"):
        live_plan("octokit")


def test_a_bookmark_is_taken_up_only_by_the_same_unfinished_demo(tmp_path):
    file = DemoFile(tmp_path, "postgresql://a")
    begun = file.begin(5)

    assert begun == file.resume(5)
    assert file.resume(6) is None
    assert DemoFile(tmp_path, "postgresql://b").resume(5) is None
    assert 1 == file.move(begun).steps
    file.move(begun, finished=True)
    assert file.resume(5) is None
    (tmp_path / "demo.json").write_text("damaged")
    assert file.resume(5) is None


# -- as users start it ---------------------------------------------------------------------------


@pytest.fixture
def home():
    folder = Path(tempfile.mkdtemp(prefix="ipai-demo-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        embedded.stop(folder, force=True)
        shutil.rmtree(folder, ignore_errors=True)


def start_demo(home):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("IPAI_")}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("ipai")), "demo", "--size", str(SIZE)],
        env=environment | {"IPAI_HOME": str(home), "IPAI_TRANSFORM_TARGET": str(home / "dbt")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(demo, words, seconds=0.0):
    for line in demo.stdout:
        if words in line:
            time.sleep(seconds)
            return
    raise AssertionError(words)


@pytest.mark.slow
def test_a_demo_that_is_stopped_and_killed_ends_as_if_it_had_not_been(home):
    with start_demo(home) as demo:
        wait_for(demo, "3/5 First sync", 2)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode in {0, 130}
    with start_demo(home) as demo:
        wait_for(demo, "4/5 Second sync", 4)
        demo.kill()
    with start_demo(home) as demo:
        said = demo.communicate(timeout=280)[0]

    assert 0 == demo.returncode, said
    assert "not finished" in said
    assert "gold_devops_ci_health" in said
    with embedded.open_database(home) as dsn:
        rows = landed(dsn, "github-demo")
        with psycopg.connect(dsn) as connection:
            silver = connection.execute(
                "select count(*) from ipai_silver_devops.github_issues"
            ).fetchone()
    with running_sandbox("github", ["--option", f"repos={SIZE}"]) as sandbox:
        sandbox.advance()
        assert truth(sandbox, rows) == rows
    assert (len(rows["issues"]),) == silver
    assert [] == list((home / "runs").iterdir())
