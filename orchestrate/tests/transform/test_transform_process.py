# SPDX-License-Identifier: Apache-2.0
"""dbt as a process: how it is started, waited for, and ended with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ipai_orchestrate.exceptions import DatabaseUnavailableError
from ipai_orchestrate.transform import DbtEvent, run_dbt
from ipai_orchestrate.transform.command import main
from ipai_orchestrate.transform.invocation import only_transform
from ipai_orchestrate.transform.process import run_lines

NOWHERE = "postgresql://nobody@/none?host=/nowhere"


@pytest.fixture
def fake_dbt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that puts a shell script in dbt's place."""

    def write(script: str) -> Path:
        program = tmp_path / "dbt"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("IPAI_DBT", str(program))
        monkeypatch.setenv("IPAI_TRANSFORM_TARGET", str(tmp_path / "target"))
        return program

    return write


def wait_until(check: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def command_exit(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_a_dbt_that_dies_without_results_gives_its_last_words(
    empty_database: str, fake_dbt: Callable[[str], Path]
) -> None:
    fake_dbt("echo 'Traceback: no module named dbt' >&2; exit 2")

    result = run_dbt(empty_database)

    assert (result.ok, result.exit_code) == (False, 2)
    assert result.error == "Traceback: no module named dbt"


def test_results_of_an_earlier_run_are_never_taken_for_those_of_a_crash(
    empty_database: str, fake_dbt: Callable[[str], Path]
) -> None:
    fake_dbt("""echo '{"results": []}' > $DBT_TARGET_PATH/run_results.json; exit 0""")
    assert run_dbt(empty_database).ok

    fake_dbt("test -e $DBT_TARGET_PATH/run_results.json && echo stale; exit 2")

    assert run_dbt(empty_database).error is None


def test_dbt_ends_when_whoever_listens_gives_up(
    empty_database: str, fake_dbt: Callable[[str], Path], tmp_path: Path
) -> None:
    fake_dbt(f"echo $$ > {tmp_path}/pid; echo started; exec sleep 60")

    def give_up(event: DbtEvent) -> None:
        raise KeyboardInterrupt(event.message)

    with pytest.raises(KeyboardInterrupt, match="started"):
        run_dbt(empty_database, on_event=give_up)

    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_silent_dbt_can_be_given_up_too(
    empty_database: str, fake_dbt: Callable[[str], Path], tmp_path: Path
) -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    fake_dbt(
        f"echo $$ > {tmp_path}/pid; trap 'touch {tmp_path}/interrupted; exit 1' INT\n"
        "while :; do sleep 0.1; done"
    )
    with pytest.raises(KeyboardInterrupt):
        run_dbt(empty_database, on_wait=give_up)

    assert (tmp_path / "interrupted").exists(), "asked first, so that it can cancel its queries"
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_dbt_does_not_outlive_a_killed_runner(
    empty_database: str, fake_dbt: Callable[[str], Path], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    fake_dbt(f"echo $$ > {pid_file}; exec sleep 60")
    code = "import sys; from ipai_orchestrate.transform import run_dbt; run_dbt(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, empty_database]) as runner:
        wait_until(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
        runner.send_signal(signal.SIGKILL)

    pid = int(pid_file.read_text())
    wait_until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    )


def test_a_second_run_on_the_same_database_waits_for_the_first(empty_database: str) -> None:
    order: list[str] = []
    waited = threading.Event()

    def second() -> None:
        with only_transform(empty_database, waited.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with only_transform(empty_database):
        thread.start()
        assert waited.wait(20)
        order.append("first")
    thread.join(20)

    assert order == ["first", "second"]


def test_an_unreachable_database_is_said_before_dbt_starts(
    fake_dbt: Callable[[str], Path],
) -> None:
    fake_dbt("exit 0")

    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        run_dbt(NOWHERE)


def test_the_launcher_ends_at_once_when_its_parent_is_gone() -> None:
    from ipai_orchestrate import become

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(become.__file__), "1", "/bin/echo", "alive"],
        capture_output=True,
        check=False,
    )

    assert done.returncode == 128 + signal.SIGKILL
    assert done.stdout == b""


def test_the_command_passes_arguments_and_exit_code_on(
    empty_database: str,
    fake_dbt: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_dbt(f'echo "$@ $IPAI_DBT_DBNAME $IPAI_DATABASE_URL" > {tmp_path}/said; exit 3')
    monkeypatch.setenv("IPAI_DATABASE_URL", empty_database)

    code = command_exit("build", "--select", "github_issues+")

    name = empty_database.split("/")[3].split("?")[0]
    assert code == 3
    assert (tmp_path / "said").read_text().strip() == f"build --select github_issues+ {name}"


@pytest.mark.parametrize("arguments", [("parse",), ("ls", "--select", "path:models"), ()])
def test_the_command_needs_no_database_to_look_at_the_project(
    arguments: tuple[str, ...],
    fake_dbt: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_dbt(f'echo "$@" > {tmp_path}/said')
    monkeypatch.delenv("IPAI_DATABASE_URL", raising=False)

    assert command_exit(*arguments) == 0
    assert (tmp_path / "said").read_text().strip() == (" ".join(arguments) or "--help")


def test_the_command_tells_a_missing_database_from_a_failure(
    fake_dbt: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_dbt("exit 0")
    monkeypatch.setenv("IPAI_DATABASE_URL", NOWHERE)

    assert command_exit("build") == DatabaseUnavailableError.exit_code
    assert "cannot be reached" in capsys.readouterr().err


def test_a_signal_that_ends_dbt_shows_in_the_exit_code(
    fake_dbt: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dbt("kill -TERM $$")

    assert command_exit("parse") == 128 + signal.SIGTERM


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    program = tmp_path / "dbt"
    program.write_text("#!/bin/sh\necho one\nprintf 'caf\\351' >&2\nexit 1\n")
    program.chmod(0o755)
    lines: list[str] = []

    code = run_lines([], {"IPAI_DBT": str(program), "PATH": os.environ["PATH"]}, lines.append)

    assert code == 1
    assert lines == ["one\n", "caf\N{REPLACEMENT CHARACTER}"]


def test_dbt_does_not_hear_the_signals_of_our_terminal(fake_dbt: Callable[[str], Path]) -> None:
    program = fake_dbt("echo $$; sleep 1")
    found: list[tuple[int, int]] = []

    def look(line: str) -> None:
        found.append((int(line), os.getpgid(int(line))))

    run_lines([], {"IPAI_DBT": str(program), "PATH": os.environ["PATH"]}, look)

    assert [(group, group) for _, group in found] == found
    assert found[0][1] != os.getpgrp()


@pytest.mark.slow
def test_real_dbt_takes_a_password_of_digits_and_reports_as_it_goes(
    empty_database: str, small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_TRANSFORM_TARGET", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", "0012345")
    events: list[DbtEvent] = []

    result = run_dbt(empty_database, select=["github_labels"], on_event=events.append)

    assert result.ok, result.summary()
    assert ("github_labels", "success") in {(event.node, event.status) for event in events}
    assert "0012345" not in (tmp_path.rglob("dbt.log").__next__()).read_text()
