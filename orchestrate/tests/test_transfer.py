# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from ipai_orchestrate.pipeline.line_reader import LineSplitter
from ipai_orchestrate.pipeline.process_group import Launch
from ipai_orchestrate.pipeline.sealed import sealed_file
from ipai_orchestrate.pipeline.transfer import Listeners, Patience, transfer

ECHO_TARGET = """
import sys
for line in sys.stdin:
    print(line, end="", flush=True)
"""


def script(body):
    return [sys.executable, "-c", textwrap.dedent(body)]


@pytest.fixture
def launch(tmp_path):
    def _launch(body, descriptors=()):
        return Launch(script(body), {"PATH": os.environ["PATH"]}, tmp_path, descriptors)

    return _launch


class Ear:
    """Keeps what the transfer reports and answers with the wish it is given."""

    def __init__(self, wish=lambda ear: "go_on"):
        self.states, self.tap_log, self.target_log = [], [], []
        self._wish = wish

    @property
    def listeners(self):
        return Listeners(
            self.states.append,
            self.tap_log.append,
            self.target_log.append,
            lambda: self._wish(self),
        )


def run(ear, tap, target):
    return transfer(tap, target, ear.listeners)


def no_process_mentions(marker):
    return [
        p.pid for p in psutil.process_iter(["cmdline"]) if marker in str(p.info["cmdline"])
    ] == []


def eventually(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_what_the_target_says_arrives_line_by_line_and_both_end_well(launch):
    ear = Ear()
    ending = run(
        ear,
        launch("import sys; print('one'); print('two'); print('hi', file=sys.stderr)"),
        launch(ECHO_TARGET),
    )

    assert [b"one", b"two"] == ear.states
    assert [b"hi"] == ear.tap_log
    assert (0, 0, False) == (ending.tap_code, ending.target_code, ending.stopped)


def test_a_crashed_tap_leaves_the_target_to_drain(launch):
    ear = Ear()
    ending = run(
        ear, launch("import os; print('kept', flush=True); os._exit(70)"), launch(ECHO_TARGET)
    )

    assert [b"kept"] == ear.states
    assert (70, 0) == (ending.tap_code, ending.target_code)


def test_a_dead_target_ends_a_tap_that_writes_nothing(launch):
    ear = Ear()
    ending = run(ear, launch("import time; time.sleep(60)"), launch("import os; os._exit(65)"))

    assert (-signal.SIGTERM, 65, False) == (ending.tap_code, ending.target_code, ending.stopped)


def test_a_stop_ends_the_tap_and_keeps_what_the_target_says_while_it_drains(launch):
    ear = Ear(lambda ear: "stop" if ear.states else "go_on")
    ending = run(
        ear,
        launch("import time; print('first', flush=True); time.sleep(60)"),
        launch(ECHO_TARGET + "import time; time.sleep(0.5); print('last', flush=True)"),
    )

    assert [b"first", b"last"] == ear.states
    assert ending.stopped
    assert 0 == ending.target_code


def test_a_deaf_tap_and_a_deaf_target_are_killed_in_turn(launch):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    ear = Ear(lambda ear: "stop" if len(ear.tap_log + ear.target_log) == 2 else "go_on")
    body = deaf + "import sys; print('up', file=sys.stderr, flush=True); time.sleep(60)"
    started = time.monotonic()
    ending = transfer(launch(body), launch(body), ear.listeners, Patience(0.3, 0.3, 0.3))

    assert (-signal.SIGKILL, -signal.SIGKILL) == (ending.tap_code, ending.target_code)
    assert time.monotonic() - started < 10


def test_a_kill_ends_everything_at_once(launch):
    ear = Ear(lambda ear: "kill" if ear.states else "go_on")
    ending = run(
        ear,
        launch("import time; print('x', flush=True); time.sleep(60)"),
        launch(ECHO_TARGET + "import time; time.sleep(60)"),
    )

    assert (-signal.SIGKILL, -signal.SIGKILL) == (ending.tap_code, ending.target_code)


def test_a_grandchild_that_keeps_the_log_open_does_not_outlive_the_run(launch):
    ear = Ear()
    run(ear, launch("import subprocess; subprocess.Popen(['sleep', '61.25'])"), launch(ECHO_TARGET))

    eventually(lambda: no_process_mentions("61.25"))


RUNNER = """
import os, sys
from pathlib import Path
from ipai_orchestrate.pipeline.process_group import Launch
from ipai_orchestrate.pipeline.transfer import Listeners, transfer
tap = ["/bin/sh", "-c", "sleep 62.5 & sleep 62.5; sleep 62.5"]
target = ["/bin/sh", "-c", "cat; sleep 62.5"]
say = lambda line: None
env = dict(os.environ)
print("up", flush=True)
listeners = Listeners(say, say, say, lambda: "go_on")
transfer(Launch(tap, env, Path("/")), Launch(target, env, Path("/")), listeners)
"""


@pytest.fixture
def running():
    """A runner in a process of its own, and everything it started."""
    with subprocess.Popen([sys.executable, "-c", RUNNER], stdout=subprocess.PIPE) as runner:
        try:
            runner.stdout.readline()
            me = psutil.Process(runner.pid)
            eventually(lambda: sum(is_sleep(p) for p in me.children(True)) == 3)
            yield me, me.children(recursive=True)
        finally:
            runner.kill()


def is_sleep(process):
    return process.name() in {"sleep", "cat"}


def keepers_of(family):
    return [p for p in family if "ipai-keeper" in p.cmdline()]


def all_gone(family):
    return lambda: not [p for p in family if p.is_running() and p.status() != "zombie"]


def test_nothing_survives_a_killed_runner(running):
    runner, family = running
    runner.kill()

    eventually(all_gone(family))


def test_a_runner_that_loses_its_keeper_ends_the_run(running):
    runner, family = running
    keepers_of(family)[0].kill()

    eventually(all_gone([*family, runner]))


def test_both_connectors_die_with_the_runner_even_without_a_keeper(running):
    runner, family = running
    connectors = [p for p in family if p.name() == "sh" and p not in keepers_of(family)]
    runner.suspend()
    for keeper in keepers_of(family):
        keeper.kill()
    runner.kill()

    eventually(all_gone(connectors))
    for stray in family:
        if stray.is_running():
            stray.kill()


def test_a_sealed_file_is_read_by_a_child_and_changed_by_nobody(launch):
    with sealed_file(b'{"token": "s3cret"}') as sealed:
        ear = Ear()
        run(
            ear,
            launch(f"print(open({sealed.path!r}).read())", [sealed.descriptor]),
            launch(ECHO_TARGET),
        )
        with pytest.raises(PermissionError):
            os.write(sealed.descriptor, b"x")

    assert [b'{"token": "s3cret"}'] == ear.states


def test_a_sealed_file_has_no_name_where_there_are_no_memory_files(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with sealed_file(b"s3cret") as sealed, Path(sealed.path).open("rb") as child:
        content = child.read()

    assert b"s3cret" == content
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc"], [b"ab", b"c"]),
        ([b"\n  \n"], []),
        ([b"0123456789abc\nx"], [b"01234567 ... (5 bytes more)", b"x"]),
    ],
)
def test_chunks_become_whole_lines(chunks, expected):
    lines = []
    splitter = LineSplitter(lines.append, longest=8)
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.finish()

    assert expected == lines
