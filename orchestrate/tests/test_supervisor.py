# SPDX-License-Identifier: Apache-2.0
"""Services kept running together: started again, ended together, none left behind."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from rich.console import Console

from ipai_orchestrate import embedded
from ipai_orchestrate.cli.up import _Board, _services
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.sandbox import running_sandbox
from ipai_orchestrate.supervisor import Backoff, Service, Supervisor

IPAI = str(Path(sys.executable).with_name("ipai"))
QUICK = Backoff(first_seconds=0.05, longest_seconds=0.2, lasted_seconds=600)
LASTS = "import time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(15, signal.SIG_IGN)\n" + LASTS


def wait(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)
    return found


def service(name, code):
    return Service(name, [sys.executable, "-c", "import sys\n" + code])


class Running:
    """A supervisor in the main thread, whose end another thread brings about."""

    def __init__(self, *services):
        self.stop, self.lines, self.code = Stop(), [], None
        self.others = {child.pid for child in psutil.Process().children()}
        self.supervisor = Supervisor(
            services, self.stop, lambda *line: self.lines.append(line), QUICK
        )

    def until(self, condition, signals=1):
        def end():
            try:
                wait(condition, "the condition")
            finally:
                for _ in range(signals):
                    self.stop.request(signal.SIGTERM)
                    time.sleep(0.5)

        thread = threading.Thread(target=end)
        thread.start()
        self.code = self.supervisor.run()
        thread.join()
        return self

    def left(self):
        """What runs below this process and did not before, such as the server of other tests."""
        return [one for one in psutil.Process().children() if one.pid not in self.others]

    def said(self, name):
        return [line for service_name, line in self.lines if service_name == name]


def test_a_service_that_ends_is_started_again_after_longer_and_longer(tmp_path):
    running = Running(
        service("frail", "print('I am', file=sys.stderr)\nsys.exit(1)"), service("firm", LASTS)
    )
    running.until(lambda: running.said("frail").count("I am") >= 3)

    assert 0 == running.code
    assert ["ready"] == running.said("firm")
    assert "ended with exit code 1; starts again in 0 s" in running.said("frail")


def test_the_wait_doubles_up_to_a_limit():
    assert [1, 2, 4, 8, 60, 60] == [Backoff().after(count) for count in (1, 2, 3, 4, 9, 900)]


def test_a_service_whose_configuration_is_wrong_ends_all():
    running = Running(service("wrong", "sys.exit(78)"), service("firm", LASTS))
    running.code = running.supervisor.run()

    assert 78 == running.code
    assert ["ended: its configuration does not fit"] == running.said("wrong")
    assert [] == running.left()


def test_all_end_with_the_supervisor_the_stubborn_ones_by_force():
    running = Running(service("stubborn", STUBBORN), service("firm", LASTS))
    running.until(lambda: len(running.lines) == 2, signals=4)

    assert 0 == running.code
    assert [] == running.left()


def test_nothing_is_left_of_a_supervisor_that_was_killed(tmp_path):
    script = (
        "import sys\nfrom ipai_orchestrate.supervisor import *\n"
        f"from ipai_orchestrate.pipeline.stop import Stop\n"
        f"one = Service('one', [sys.executable, '-c', {'import sys' + chr(10) + LASTS!r}])\n"
        "Supervisor([one], Stop(), lambda *line: print(*line, flush=True)).run()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as one:
        assert "one ready" == one.stdout.readline().strip()
        children = psutil.Process(one.pid).children()
        one.kill()

    assert 1 == len(children)
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)


# -- the board -----------------------------------------------------------------------------------


class FakeChild:
    def __init__(self, name, *, is_running):
        self.service, self.is_running = Service(name, ()), is_running
        self.restart_at = time.monotonic() + 9.5


def test_a_terminal_shows_one_line_of_status(database, make_instance, control_plane, tmp_path):
    control_plane.enqueue(make_instance())
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, highlight=False)
    board = _Board(Database(database), console, Stop(), as_json=False)
    supervisor = Supervisor([], Stop(), board.say)
    supervisor.children = [
        FakeChild("scheduler", is_running=True),
        FakeChild("worker-1", is_running=False),
    ]
    with board.shown():
        board.look(supervisor)
        board.say("worker-1", "hello [you]")
        shown = str(board._status.status)

    for words in ("Up", "1 services", "worker-1 starts again in", "0 running, 1 waiting"):
        assert words in shown
    assert "hello [you]" in file.getvalue()


def test_the_end_shows_what_is_waited_for(tmp_path):
    stop = Stop(signum=signal.SIGTERM)
    board = _Board(Database(""), Console(file=io.StringIO()), stop, as_json=False)
    supervisor = Supervisor([], stop, board.say)
    supervisor.children = [
        FakeChild("scheduler", is_running=False),
        FakeChild("worker-1", is_running=True),
    ]

    assert ["Ending", "waiting for worker-1"] == board._services(supervisor)


def test_a_database_that_is_away_shows_in_the_status(tmp_path):
    board = _Board(
        Database("postgresql://nobody@/none?host=" + str(tmp_path)),
        Console(file=io.StringIO()),
        Stop(),
        as_json=False,
    )
    supervisor = Supervisor([], Stop(), board.say)
    board.look(supervisor)

    assert "does not answer" in str(board._status.status)


def test_machines_get_json_lines_only(capfd):
    board = _Board(Database(""), Console(stderr=True), Stop(), as_json=True)
    with board.shown():
        board.say("worker-1", '{"event": "run_started"}')
        board.say("worker-1", "Traceback")
        board.look(Supervisor([], Stop(), board.say))

    assert [
        '{"event": "run_started"}',
        '{"service": "worker-1", "event": "Traceback"}',
    ] == capfd.readouterr().err.splitlines()


def test_all_services_of_a_machine_are_kept_running():
    names = [one.name for one in _services(2, 1, 5.0, "json")]

    assert ["scheduler", "worker-1", "worker-2"] == names[:3]
    assert "notifier" in names


# -- the whole of it -----------------------------------------------------------------------------


@pytest.fixture
def home():
    folder = Path(tempfile.mkdtemp(prefix="ipai-up-"))
    folder.chmod(0o711)
    (folder / "dbt").write_text("#!/bin/sh\n")
    (folder / "dbt").chmod(0o755)
    yield folder
    embedded.stop(folder, force=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_up_runs_what_is_queued_survives_its_workers_and_leaves_nothing(home):
    with running_sandbox("github", ["--option", "repos=1", "--option", "days=5"]) as sandbox:
        config = sandbox.config()
        token = config.pop("auth_token")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("IPAI_")},
            "IPAI_HOME": str(home),
            "IPAI_DBT": str(home / "dbt"),  # what dbt builds is for other tests
            "GITHUB_TOKEN": token,
        }
        arguments = [f"--set={name}={_text(value)}" for name, value in config.items()]
        add = [IPAI, "instance", "add", "acme", "--connector", "github", *arguments]
        subprocess.run([*add, "--set=auth_token=${GITHUB_TOKEN}"], env=environment, check=True)
        command = [IPAI, "up", "--concurrency", "1", "--log-format", "json"]
        with (home / "up.log").open("w") as log:
            up = subprocess.Popen(command, env=environment, stderr=log)
        try:
            wait(lambda: (home / "up.log").read_text().count("worker_started") == 1, "the worker")
            with ControlPlane.connect(embedded.url(home)) as plane:
                first = plane.enqueue("acme")
                done = lambda run: plane.run_status(run).status == "succeeded"  # noqa: E731
                wait(lambda: done(first), "the first run", 150)
                (worker,) = [
                    child
                    for child in psutil.Process(up.pid).children()
                    if "worker" in child.cmdline()
                ]
                worker.kill()
                second = plane.enqueue("acme")
                wait(lambda: done(second), "the run of the new worker", 150)
            tree = psutil.Process(up.pid).children(recursive=True)
            up.send_signal(signal.SIGTERM)

            assert 0 == up.wait(60)
            psutil.wait_procs(tree, timeout=20)
            assert [] == [one for one in tree if one.is_running()]
            assert not embedded.status(home).running
        finally:
            up.kill()
            up.wait()
        with embedded.open_database(home) as dsn, psycopg.connect(dsn) as connection:
            landed = connection.execute(
                "select count(*) from ipai_bronze_devops.raw_github_repositories"
            ).fetchone()
        expected = len(list(sandbox.records("repositories")))

    assert (expected,) == landed


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def test_up_on_a_database_that_is_not_migrated_says_what_to_do(empty_database, tmp_path):
    environment = {
        **os.environ,
        "IPAI_DATABASE_URL": empty_database,
        "IPAI_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [IPAI, "up", "--log-format", "json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert 78 == done.returncode, done.stderr
    assert "ipai db migrate" in done.stderr
    assert "its configuration does not fit" in done.stderr
