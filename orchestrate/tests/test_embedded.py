# SPDX-License-Identifier: Apache-2.0
"""The embedded server against what happens to it: crowds, crashes, leftovers, other users."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from ipai_orchestrate import embedded
from ipai_orchestrate.embedded.binaries import find_binaries, reachable
from ipai_orchestrate.embedded.home import home_of, unusable
from ipai_orchestrate.embedded.process_user import server_user
from ipai_orchestrate.embedded.server import Server
from ipai_orchestrate.exceptions import ConfigurationError, DatabaseUnavailableError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users: needs root")


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    folder.chmod(0o711)
    yield folder
    embedded.stop(folder, force=True)
    outside = (folder / "server").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(outside, ignore_errors=True)


def opened(home: Path) -> object:
    return embedded.open_database(home, migrated=False)


def ask(dsn: str, query: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill_server(home: Path) -> int:
    pid = embedded.status(home).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_the_first_user_starts_the_server_and_the_last_one_stops_it(home: Path) -> None:
    with opened(home) as dsn:
        with opened(home) as same:
            assert dsn == same == embedded.url(home)
        assert embedded.status(home).running
        assert ask(dsn, "show listen_addresses") == ""
        assert ask(dsn, "show wal_level") == "logical"

    status = embedded.status(home)
    assert (status.running, status.in_use, status.url) == (False, False, None)


def test_the_address_is_in_a_file_for_the_caller_alone_while_the_server_runs(home: Path) -> None:
    with opened(home) as dsn:
        file = home / "database_url"
        assert file.read_text().strip() == dsn
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "server" / "socket").stat().st_mode) == 0o700

    assert not file.exists()


def test_migrations_are_applied_to_the_embedded_database(home: Path) -> None:
    with embedded.open_database(home) as dsn:
        assert ask(dsn, "select count(*) from connectors.connector_list()") == "0"


def test_a_configured_database_is_taken_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", "postgresql://warehouse/db")
    monkeypatch.setenv("IPAI_HOME", str(home))

    with embedded.open_database() as dsn:
        assert dsn == "postgresql://warehouse/db"
        assert not embedded.status().running


def test_a_pinned_server_outlives_its_users_until_it_is_stopped(home: Path) -> None:
    dsn = embedded.start(home)
    with opened(home):
        pass

    assert embedded.status(home).pinned
    assert ask(dsn, "select 1") == "1"

    embedded.stop(home)
    assert not embedded.status(home).running
    assert not embedded.status(home).pinned


def test_stopping_is_refused_while_others_use_the_server_unless_forced(home: Path) -> None:
    with opened(home):
        with pytest.raises(DatabaseUnavailableError, match="Other processes use the server"):
            embedded.stop(home)
        assert embedded.status(home).running

        embedded.stop(home, force=True)
        assert not embedded.status(home).running


def test_stopping_a_home_that_never_was_does_nothing(tmp_path: Path) -> None:
    embedded.stop(tmp_path / "nothing")

    assert not (tmp_path / "nothing").exists()


def test_the_server_is_out_of_reach_of_the_callers_terminal_signals(home: Path) -> None:
    with opened(home):
        pid = embedded.status(home).pid
        assert pid is not None
        assert os.getsid(pid) != os.getsid(0)


_USER = """
import sys, time
import psycopg
from ipai_orchestrate import embedded
with embedded.open_database(sys.argv[1], migrated=False) as dsn:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("select pg_postmaster_start_time()").fetchone()
        print(row[0].isoformat(), flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start_user(home: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _USER, str(home), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_eight_processes_that_start_at_once_share_one_server(home: Path) -> None:
    users = [start_user(home, 1.5) for _ in range(8)]
    started = {user.communicate(timeout=120)[0].strip() for user in users}

    assert [user.returncode for user in users] == [0] * 8
    assert len(started) == 1
    assert not embedded.status(home).running


def test_a_user_killed_without_warning_no_longer_counts(home: Path) -> None:
    with opened(home) as dsn, start_user(home, 60) as user:
        assert user.stdout is not None
        user.stdout.readline()
        user.kill()
        user.wait()
        assert ask(dsn, "select 1") == "1"

    assert not embedded.status(home).running


def watches(home: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(home) in (process.info["cmdline"] or []) and "watch.py" in str(process.info)
    ]


def test_when_the_last_user_is_killed_the_server_stops_and_nothing_is_left(home: Path) -> None:
    with start_user(home, 60) as user:
        assert user.stdout is not None
        user.stdout.readline()
        server = embedded.status(home).pid
        assert server is not None
        user.kill()

    wait_until(lambda: not psutil.pid_exists(server))
    wait_until(lambda: not watches(home))
    assert not (home / "database_url").exists()


def test_a_pinned_server_survives_users_that_are_killed(home: Path) -> None:
    dsn = embedded.start(home)
    with start_user(home, 60) as user:
        assert user.stdout is not None
        user.stdout.readline()
        user.kill()

    wait_until(lambda: not watches(home))
    assert ask(dsn, "select 1") == "1"


def test_one_watch_is_enough_however_often_the_server_is_started(home: Path) -> None:
    with opened(home):
        wait_until(lambda: len(watches(home)) == 1)
        for _ in range(2):
            kill_server(home)
            embedded.revive(home)
        wait_until(lambda: len(watches(home)) == 1)
        assert embedded.status(home).running

    wait_until(lambda: not watches(home))


def test_a_watch_that_wakes_while_the_server_is_used_again_leaves_it_alone(home: Path) -> None:
    with opened(home) as dsn:
        embedded.stop_if_unused(home)
        assert ask(dsn, "select 1") == "1"

    embedded.stop_if_unused(home / "nothing")
    embedded.stop_if_unused(home)
    assert not embedded.status(home).running


def test_ten_kills_during_commits_lose_no_acknowledged_row(home: Path) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def write(dsn: str) -> None:
        number = 0
        while not stop.is_set():
            try:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    while not stop.is_set():
                        number += 1
                        connection.execute("insert into kept values (%s)", (number,))
                        acknowledged.append(number)
            except psycopg.OperationalError:
                time.sleep(0.01)

    with opened(home) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create table kept (number int)")
        writer = threading.Thread(target=write, args=(dsn,))
        writer.start()
        for _ in range(10):
            before = len(acknowledged)
            wait_until(lambda before=before: len(acknowledged) > before + 20)
            kill_server(home)
            assert embedded.revive(home) == dsn
        stop.set()
        writer.join(timeout=30)
        with psycopg.connect(dsn) as connection:
            kept = {row[0] for row in connection.execute("select number from kept")}

    assert len(acknowledged) > 200
    assert set(acknowledged) - kept == set()


def test_joining_after_a_crash_starts_the_server_again(home: Path) -> None:
    embedded.start(home)
    kill_server(home)

    with opened(home) as dsn:
        assert ask(dsn, "select 1") == "1"


def leave_lock_files(home: Path, pid: int) -> None:
    place = home_of(home)
    text = f"{pid}\n{place.data}\n1700000000\n5432\n{place.socket}\n\n  5432  1\nready\n"
    (place.data / "postmaster.pid").write_text(text)
    (place.socket / ".s.PGSQL.5432.lock").write_text(text)
    for path in (place.data / "postmaster.pid", place.socket / ".s.PGSQL.5432.lock"):
        os.chown(path, server_user().uid, server_user().gid)


@pytest.fixture(params=["gone", "stranger", "zombie"])
def left_process(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process number that a lock file may name though no server has it any more.

    Of the server's own user: PostgreSQL takes a number it may not signal for a stranger by itself.
    """
    user = server_user()
    process = subprocess.Popen(
        ["sleep", "60"], user=user.uid if user.switch else None, stdout=subprocess.DEVNULL
    )
    if request.param != "stranger":
        process.kill()
    if request.param == "gone":
        process.wait()
    elif request.param == "zombie":
        wait_until(lambda: "\nState:\tZ" in Path(f"/proc/{process.pid}/status").read_text())
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="recognises a zombie by /proc")
def test_lock_files_left_behind_do_not_keep_the_server_from_starting(
    home: Path, left_process: int
) -> None:
    with opened(home):
        pass
    leave_lock_files(home, left_process)

    with opened(home) as dsn:
        assert ask(dsn, "select 1") == "1"


def test_unfinished_leftovers_of_a_killed_start_are_not_taken_for_a_database(home: Path) -> None:
    place = home_of(home)
    place.create(server_user())
    leftover = place.server / "data.tmp-1"
    leftover.mkdir()
    (leftover / "PG_VERSION").write_text("17\n")

    with opened(home) as dsn:
        assert ask(dsn, "select 1") == "1"

    assert not leftover.exists()


def test_two_spellings_of_one_home_are_one_server(home: Path) -> None:
    link = home.with_name(home.name + "-link")
    link.symlink_to(home)
    try:
        with opened(home) as dsn, opened(link) as same:
            assert dsn == same
    finally:
        link.unlink()


def test_a_deep_home_gets_a_short_folder_for_its_socket(home: Path) -> None:
    deep = home / ("d" * 100)
    with opened(deep) as dsn:
        socket = home_of(deep).socket
        assert ask(dsn, "select 1") == "1"
        assert socket.parent == Path("/tmp")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    shutil.rmtree(socket)


@needs_root
def test_a_folder_that_another_process_is_just_making_is_used(home: Path) -> None:
    user = server_user()
    socket = home_of(home / ("d" * 100)).socket
    socket.mkdir(mode=0o700)  # made, not yet given to the server's user
    try:
        home_of(home / ("d" * 100)).create(user)

        assert socket.stat().st_uid == user.uid
    finally:
        shutil.rmtree(socket)


@needs_root
def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    deep = home / ("d" * 100)
    socket = home_of(deep).socket
    socket.mkdir(mode=0o777)
    try:
        with pytest.raises(ConfigurationError, match="belongs to user id 0"), opened(deep):
            pass
    finally:
        socket.rmdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: place.rmdir() or place.touch(), "cannot be kept in .*Set IPAI_HOME"),
        (lambda place: (place / "server" / "data").mkdir(), "holds no database.*PG_VERSION"),
    ],
)
def test_a_home_that_cannot_be_used_is_refused_with_the_way_out(
    home: Path, spoil: Callable[[Path], object], words: str
) -> None:
    home_of(home).create(server_user())
    if "no database" not in words:
        shutil.rmtree(home_of(home).socket, ignore_errors=True)
        shutil.rmtree(home)
        home.mkdir()
    spoil(home)

    with pytest.raises(ConfigurationError, match=words):
        embedded.start(home)


def test_a_full_disk_is_told_as_one_that_may_have_room_later(home: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ipai.conf")

    told = unusable(home_of(home), full)

    assert isinstance(told, DatabaseUnavailableError)
    assert "has no room. No space left on device: 'ipai.conf'" in str(told)


def test_data_of_another_major_is_refused_with_the_way_out(home: Path) -> None:
    with opened(home):
        pass
    (home / "server" / "data" / "PG_VERSION").write_text("11\n")

    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL '11'.*IPAI_PG_BIN"):
        embedded.start(home)

    assert not embedded.status(home).running


def test_a_broken_setting_is_reported_at_once_with_the_servers_own_words(home: Path) -> None:
    with opened(home):
        pass
    with (home / "server" / "data" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'plenty'\n")

    begun = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="shared_buffers"), opened(home):
        pass

    assert time.monotonic() - begun < 20


def test_a_server_that_cannot_start_on_a_full_disk_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home):
        pass
    with (home / "server" / "data" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'plenty'\n")
    usage = shutil.disk_usage(home)._replace(free=12_288)
    monkeypatch.setattr("ipai_orchestrate.embedded.server.shutil.disk_usage", lambda _: usage)

    with (
        pytest.raises(DatabaseUnavailableError, match="full, 12288 bytes are free"),
        opened(home),
    ):
        pass


def test_a_system_without_the_preferred_locale_gets_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipai_orchestrate.embedded.server._LOCALES", ("xx_XX.UTF-8", "C"))

    with opened(home) as dsn:
        assert ask(dsn, "show server_encoding") == "UTF8"
        assert ask(dsn, "select datcollate from pg_database where datname = 'postgres'") == "C"


def test_a_database_that_cannot_be_created_is_reported_with_the_tools_own_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipai_orchestrate.embedded.server._INITDB", ("--nonsense",))

    with pytest.raises(DatabaseUnavailableError, match="nonsense"), opened(home):
        pass
    assert not (home / "server" / "data").exists()
    assert list((home / "server").glob("data.tmp-*")) == []


def test_a_server_that_recovers_is_waited_for_and_not_started_twice(home: Path) -> None:
    with opened(home) as dsn:
        first = embedded.status(home).pid
        # As if it did not answer: start is called although a server lives.
        server = Server.of(home_of(home))
        assert "still ending, or it is recovering" in server._start_once(find_binaries())
        assert embedded.status(home).pid == first
        assert ask(dsn, "select 1") == "1"


@pytest.mark.parametrize("value", ["/nonexistent", "/tmp"])
def test_a_wrong_folder_of_binaries_is_named(value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"IPAI_PG_BIN.*{value}"):
        find_binaries({"IPAI_PG_BIN": value})


def test_binaries_that_do_not_run_are_named(home: Path) -> None:
    folder = home / "bin"
    folder.mkdir()
    for name in ("postgres", "initdb", "pg_ctl"):
        (folder / name).write_text("#!/bin/sh\necho broken\nexit 1\n")
        (folder / name).chmod(0o755)

    with pytest.raises(ConfigurationError, match="does not run: 'broken'"):
        find_binaries({"IPAI_PG_BIN": str(folder)}).version(server_user())


def test_other_installations_can_be_chosen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed:
        pytest.skip("no PostgreSQL of the distribution")
    monkeypatch.setenv("IPAI_PG_BIN", str(installed[0]))

    with opened(home) as dsn:
        assert ask(dsn, "show server_version").split(".")[0] == installed[0].parent.name


def test_an_unknown_user_to_run_as_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    for name in ("no-such-user", "root"):
        with pytest.raises(ConfigurationError, match="Set IPAI_PG_OS_USER"):
            server_user({"IPAI_PG_OS_USER": name})


@needs_root
@pytest.mark.parametrize("name", ["nobody"])
def test_root_runs_the_server_as_the_chosen_user(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("IPAI_PG_OS_USER", name)

    with opened(home):
        pid = embedded.status(home).pid
        assert Path(f"/proc/{pid}").stat().st_uid == server_user().uid != 0
        assert home.stat().st_uid == 0


@needs_root
def test_a_home_the_servers_user_cannot_reach_keeps_its_data_elsewhere() -> None:
    parent = Path(tempfile.mkdtemp(prefix="ipai-test-"))  # mode 0700, owned by root, like /root
    home = parent / "home"
    try:
        with opened(home) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create table t as select 1")
        outside = (home / "server").resolve()
        assert outside.parent == Path("/var/lib/ipai-servers")
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        with opened(home) as dsn:
            assert ask(dsn, "select * from t") == "1"
    finally:
        embedded.stop(home, force=True)
        shutil.rmtree(outside)
        shutil.rmtree(parent)


@needs_root
def test_binaries_the_servers_user_cannot_reach_are_copied(home: Path) -> None:
    closed = Path(tempfile.mkdtemp(prefix="ipai-test-"))  # mode 0700, as a home may be
    try:
        original = find_binaries({})
        for root in original.roots:
            shutil.copytree(root, closed / root.name, symlinks=True)
        hidden = find_binaries(
            {"IPAI_PG_BIN": str(closed / original.bin.relative_to(original.bin.parents[2]))}
        )
        user = server_user()
        copy = reachable(hidden, user, home / "binaries")

        assert copy.version(user) == original.version(user)
        assert copy.bin.is_relative_to(home)
        assert reachable(hidden, user, home / "binaries") == copy
        assert reachable(original, user, home / "binaries") == original
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(closed)


@needs_root
def test_an_unprivileged_user_needs_nothing_of_root() -> None:
    """In a child process that has given up root for good."""
    home = Path(tempfile.mkdtemp(prefix="ipai-test-"))
    user = server_user()
    os.chown(home, user.uid, user.gid)
    try:
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            code = 1
            try:
                os.setgroups([])
                os.setgid(user.gid)
                os.setuid(user.uid)
                with opened(home) as dsn:
                    code = 0 if ask(dsn, "select current_user") == "postgres" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (home / "server").stat().st_uid == user.uid
        assert not embedded.status(home).running
    finally:
        shutil.rmtree(home)
