# SPDX-License-Identifier: Apache-2.0
"""OAuth grants: renewed once for all workers, stored before use, refused once and then left alone.

The issuer is a real server that rotates refresh tokens and takes each of them once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import psycopg
import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    CredentialsRefusedError,
    OrchestrateError,
    RefusedError,
    SecretError,
    TokenEndpointError,
)
from ipai_orchestrate.monitor import AlertBook
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.outcome import class_of
from ipai_orchestrate.secrets import (
    Grant,
    RingFile,
    SecretReader,
    SecretStore,
    instance_secrets,
    verify,
)
from ipai_orchestrate.secrets.key_ring import FILE_NAME
from ipai_orchestrate.secrets.renewal import Renewal
from ipai_orchestrate.secrets.token_endpoint import refreshed

Connection = psycopg.Connection[Any]
NAME = "ads/grant"
LIFE = 3600


@dataclass
class Issuer:
    """Takes each refresh token once; counts what it is asked."""

    url: str = ""
    newest: int = 1
    life: float | None = LIFE
    asked: list[str] = field(default_factory=list)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    headers: list[str | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    location: str | None = None

    def grant(self, **more: Any) -> Grant:
        return Grant(
            token_url=self.url,
            client_id="app",
            client_secret="hush-hush",
            refresh_token=f"refresh-{self.newest}",
            **more,
        )

    def answer(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            offered = "".join(form.get("refresh_token", []))
            self.asked.append(offered)
            self.entered.set()
            self.go_on.wait(30)
            if self.answers:
                return self.answers.pop(0)
            if offered != f"refresh-{self.newest}":
                return 400, {"error": "invalid_grant"}
            self.newest += 1
            pair = {
                "access_token": f"access-{self.newest}",
                "refresh_token": f"refresh-{self.newest}",
            }
            return 200, pair | ({} if self.life is None else {"expires_in": self.life})


@pytest.fixture
def ring(request: pytest.FixtureRequest, server: Any, tmp_path: Path) -> Iterator[RingFile]:
    """Clients seal, unless a test asks for a server that does."""
    if getattr(request, "param", "client") == "client":
        yield RingFile(tmp_path / FILE_NAME)
        return
    request.getfixturevalue("pgcrypto")
    file = RingFile(home_of(server.home).server / FILE_NAME)
    file.create()
    yield file
    file.path.unlink()


both = pytest.mark.parametrize("ring", ["server", "client"], indirect=True)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    running.go_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            running.headers.append(self.headers["authorization"])
            status, said = running.answer(parse_qs(body))
            data = json.dumps(said).encode()
            try:
                self.send_response(status)
                if running.location:
                    self.send_header("location", running.location)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                return  # who asked was killed

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_port}/token"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def due(grant: Grant) -> Grant:
    return replace(grant, access_token="access-1", access_expires_at=1.0, renew_at=1.0)


@dataclass(frozen=True)
class Holder:
    """Who holds a run that refers to the grant."""

    dsn: str
    run: Any
    ring: RingFile

    def reader(self, now: Callable[[], float] = time.time) -> SecretReader:
        lease = {"run_id": self.run.id, "lease_token": self.run.lease_token}
        database = Database(self.dsn)
        reader = SecretReader(database, "request", lease, lease, self.ring)
        reader.renewal = Renewal(database, self.run, self.ring, reader.stored, now=now)
        return reader

    def token(self) -> str:
        return self.reader()([NAME])[NAME]


@pytest.fixture
def holder(make_worker: Callable[..., Any], store: SecretStore, ring: RingFile) -> Holder:
    del store
    worker = make_worker(name=NAME)
    return Holder(worker.dsn, worker.run, ring)


def version(connection: Connection) -> int:
    row = connection.execute(
        "select version from connectors.secrets where name = %s", (NAME,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def status(connection: Connection) -> tuple[Any, ...] | None:
    query = "select status, failure from connectors.oauth_grants"
    return connection.execute(query).fetchone()


def test_a_token_that_is_good_is_handed_out_without_a_question(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    good = replace(issuer.grant(), access_token="access-1", renew_at=time.time() + 100)
    store.store_grant(NAME, good)

    assert holder.token() == "access-1"
    assert issuer.asked == []


@both
def test_a_token_that_is_due_is_renewed_and_stored_with_its_refresh_token(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    store.store_grant(NAME, due(issuer.grant()))

    assert [holder.token() for _ in range(3)] == ["access-2"] * 3
    assert issuer.asked == ["refresh-1"]
    assert version(connection) == 2
    assert verify(connection).intact
    query = "select actor, detail from connectors.secret_audit where action = 'rotate'"
    assert connection.execute(query).fetchall() == [("secret_0_ipai_worker", "version 2, renewed")]
    again = holder.reader()
    assert again.renewed(NAME, "access-2").access_token == "access-3"
    assert issuer.asked == ["refresh-1", "refresh-2"]
    assert {"access-3", "refresh-3", "hush-hush"} <= set(again.to_mask)


def test_a_token_of_sixty_seconds_lasts_through_ten_minutes(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    """The clock of the worker is ours: a request every ten seconds, never with a dead token."""
    issuer.life = 60
    clock = [time.time()]
    ends: dict[str, float] = {}
    store.store_grant(NAME, issuer.grant())
    reader = holder.reader(lambda: clock[0])
    reader.renewal = replace(reader.renewal, trade=lambda grant: refreshed(grant, lambda: clock[0]))
    for _ in range(60):
        grant = reader.renewed(NAME)
        ends[str(grant.access_token)] = float(grant.access_expires_at or 0)
        assert clock[0] < ends[str(grant.access_token)]
        clock[0] += 10

    assert 10 <= len(issuer.asked) == len(set(issuer.asked)) <= 16


PROGRAM = """
import os, signal, sys
from uuid import UUID
from dataclasses import dataclass
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.outcome import class_of
from ipai_orchestrate.secrets import RingFile, run_secrets

@dataclass
class Run:
    id: UUID
    lease_token: UUID

dsn, run, lease, then = sys.argv[1:]
reader = run_secrets(Database(dsn), Run(UUID(run), UUID(lease)))
token = reader(["ads/grant"])["ads/grant"]
if then == "die":
    os.kill(os.getpid(), signal.SIGKILL)
print(token)
"""


def started(holder: Holder, then: str = "print") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", PROGRAM, holder.dsn),
            *(str(holder.run.id), str(holder.run.lease_token), then),
        ],
        env={**os.environ, "IPAI_VAULT_KEYS": str(holder.ring.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_four_processes_renew_it_once(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    issuer.go_on.clear()
    processes = [started(holder) for _ in range(4)]
    assert issuer.entered.wait(30)
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    for _ in range(50):  # less than the patience of the one that asks
        if connection.execute(waiting).fetchone() == (3,):
            break
        time.sleep(0.1)
    issuer.go_on.set()

    outputs = [process.communicate(timeout=60) for process in processes]

    assert [said.strip() for said, _ in outputs] == ["access-2"] * 4, outputs
    assert issuer.asked == ["refresh-1"]
    assert version(connection) == 2


def test_what_was_renewed_survives_a_kill_before_it_is_used(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    store.store_grant(NAME, due(issuer.grant()))

    killed = started(holder, "die")
    assert killed.wait(60) == -signal.SIGKILL
    killed.communicate()

    assert holder.token() == "access-2"
    assert issuer.asked == ["refresh-1"]
    assert holder.reader().renewed(NAME, "access-2").access_token == "access-3"


def test_a_kill_while_the_issuer_is_asked_lets_the_next_one_ask(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    issuer.answers = [(503, {})]  # what the dead one will never hear
    issuer.go_on.clear()
    killed = started(holder)
    assert issuer.entered.wait(30)
    killed.kill()
    killed.communicate()
    issuer.go_on.set()

    assert holder.token() == "access-2"
    assert issuer.asked == ["refresh-1", "refresh-1"]


def test_a_refused_grant_needs_a_new_login_and_is_not_asked_for_again(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    store.store_grant(NAME, due(replace(issuer.grant(), refresh_token="revoked")))

    for _ in range(5):
        with pytest.raises(CredentialsRefusedError, match="Sign in there again") as caught:
            holder.token()
        assert caught.value.exit_code == 77
    assert issuer.asked == ["revoked"]
    assert status(connection) == ("needs_reauth", "invalid_grant")
    book = AlertBook(connection)
    (alert,) = [one for one in book.check() if one.condition == "needs_reauth"]
    assert (alert.subject, alert.severity, alert.change) == (NAME, "critical", "opened")
    assert book.check() == []

    store.store_grant(NAME, due(issuer.grant()))
    assert status(connection) == ("active", None)
    assert holder.token() == "access-2"
    assert [one.change for one in book.check()] == ["resolved"]


@pytest.mark.parametrize(
    "answer",
    [(500, {}), (429, {}), (400, {"error": "temporarily_unavailable"}), (200, {"nothing": 1})],
)
def test_an_issuer_that_is_down_changes_nothing(
    holder: Holder,
    store: SecretStore,
    issuer: Issuer,
    connection: Connection,
    answer: tuple[int, dict[str, Any]],
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    issuer.answers = [answer]

    with pytest.raises(TokenEndpointError) as caught:
        holder.token()
    assert caught.value.exit_code == 75
    assert status(connection) == ("active", None)
    assert holder.token() == "access-2"


def test_an_issuer_that_sends_elsewhere_is_not_followed(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    issuer.answers, issuer.location = [(307, {})], "http://127.0.0.1:9/"

    with pytest.raises(TokenEndpointError, match="status 307"):
        holder.token()
    assert len(issuer.asked) == 1


def test_an_issuer_that_does_not_answer_is_one_to_try_later(issuer: Issuer) -> None:
    nobody = replace(issuer.grant(), token_url="http://127.0.0.1:9/token")

    with pytest.raises(TokenEndpointError, match="does not answer"):
        refreshed(nobody)
    with pytest.raises(ConfigurationError, match="is not encrypted"):
        refreshed(replace(nobody, token_url="http://issuer.example.com/token"))


def test_what_an_issuer_says_beside_the_tokens_is_kept(issuer: Issuer) -> None:
    said = {"access_token": "a", "scope": "ads read", "refresh_token_expires_in": "7200"}
    issuer.answers = [(200, said), (200, {"access_token": "b", "expires_in": "soon"})]

    first = refreshed(replace(issuer.grant(), secret_in_header=True), lambda: 1000.0)
    second = refreshed(first)

    assert (first.scopes, first.expires_at, first.refresh_token) == (
        ("ads", "read"),
        8200.0,
        "refresh-1",
    )
    assert (first.access_expires_at, second.renew_at, second.scopes) == (None, None, first.scopes)
    assert str(issuer.headers[0]).startswith("Basic ")
    assert "hush-hush" not in repr(second)
    assert "refresh-1" not in repr(second)


def test_a_worker_that_was_overtaken_takes_what_the_other_has_stored(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    """Its lock was lost with its connection: the version tells it."""
    store.store_grant(NAME, due(issuer.grant()))
    reader = holder.reader()

    def overtaken(grant: Grant) -> Grant:
        stored = replace(refreshed(grant), access_token="of-the-other")
        store.store_grant(NAME, stored)
        return replace(stored, access_token="mine")

    reader.renewal = replace(reader.renewal, trade=overtaken)

    assert reader([NAME])[NAME] == "of-the-other"


def test_a_pair_is_stored_even_if_the_connection_breaks_meanwhile(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    reader = holder.reader()

    def cut(grant: Grant) -> Grant:
        fresh = refreshed(grant)
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename like 'secret\\_%' and pid <> pg_backend_pid()"
        )
        return fresh

    reader.renewal = replace(reader.renewal, trade=cut)

    assert reader([NAME])[NAME] == "access-2"
    assert holder.token() == "access-2"


def test_a_lost_lease_renews_nothing_but_stores_what_was_given(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    reader = holder.reader()

    def slow(grant: Grant) -> Grant:
        fresh = refreshed(grant)
        connection.execute(
            "update connectors.connector_runs set lease_until = now() - interval '1 hour'"
        )
        connection.execute("select connectors.reap_connector_runs()")
        return fresh

    reader.renewal = replace(reader.renewal, trade=slow)

    assert reader([NAME])[NAME] == "access-2"
    assert version(connection) == 2
    with pytest.raises(Exception, match="is not held"):
        holder.token()


def test_no_other_login_and_no_other_run_renews_a_grant(
    holder: Holder, store: SecretStore, issuer: Issuer, make_worker: Callable[..., Any]
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    stranger = make_worker(instance="other", name="something/else")
    lease = (stranger.run.id, stranger.run.lease_token, NAME)
    for query, arguments in (
        ("select connectors.lock_oauth_grant(%s, %s, %s)", lease),
        ("select connectors.lock_oauth_grant(%s, %s, %s)", (holder.run.id, *lease[1:])),
        ("select connectors.save_oauth_tokens(%s, %s, 1, 'x')", (holder.run.id, NAME)),
        ("select connectors.fail_oauth_grant(%s, %s, 1, 'x')", (holder.run.id, NAME)),
        ("select connectors.save_oauth_tokens(%s, %s, 1, 'x')", (stranger.run.id, NAME)),
    ):
        with pytest.raises(psycopg.Error) as caught:
            stranger.connection.execute(query, arguments)
        assert str(caught.value.sqlstate).startswith("PT4")


@pytest.mark.parametrize(
    "url", ["http://issuer.example.com/token", "https://me:secret@issuer.example.com/", "ftp://x/"]
)
def test_an_address_that_would_show_tokens_is_not_stored(
    store: SecretStore, issuer: Issuer, url: str
) -> None:
    with pytest.raises(RefusedError, match="cannot be used"):
        store.store_grant(NAME, replace(issuer.grant(), token_url=url))


def test_a_check_uses_the_token_while_it_is_good_and_renews_nothing(
    store: SecretStore,
    issuer: Issuer,
    database: str,
    ring: RingFile,
    make_instance: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IPAI_VAULT_KEYS", str(ring.path))
    make_instance(config={"auth_token": f"${{secret:{NAME}}}"})
    good = replace(issuer.grant(), access_token="access-1", renew_at=time.time() + 100)
    store.store_grant(NAME, good)
    assert instance_secrets(Database(database), "github-acme")([NAME]) == {NAME: "access-1"}
    store.store_grant(NAME, due(good))
    with pytest.raises(SecretError, match="A run renews it"):
        instance_secrets(Database(database), "github-acme")([NAME])
    store.rotate(NAME, "plain")
    with pytest.raises(SecretError, match="no grant any more"):
        instance_secrets(Database(database), "github-acme").renewed(NAME)
    assert issuer.asked == []


def test_a_grant_that_ends_within_a_day_is_one_alert_however_often_it_was_renewed(
    holder: Holder, store: SecretStore, issuer: Issuer, connection: Connection
) -> None:
    book = AlertBook(connection)
    left = time.time() + 40 * 3600
    store.store_grant(NAME, due(issuer.grant(expires_at=left)))
    assert holder.token() == "access-2"
    assert [one for one in book.check() if one.condition == "secret_expiring"] == []

    connection.execute(
        "update connectors.oauth_grants set granted_at = now() - interval '17 hours'"
    )
    connection.execute("update connectors.secrets set expires_at = now() + interval '23 hours'")
    assert [one.change for one in book.check()] == ["opened"]
    for _ in range(3):
        assert book.check() == []
    connection.execute("update connectors.secrets set expires_at = now() - interval '1 minute'")
    assert [one.change for one in book.check()] == ["worsened"]


def ask(url: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, urlencode(form).encode(), timeout=10) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@both
def test_the_door_of_a_run_gives_its_tap_new_tokens_for_its_key_alone(
    holder: Holder, store: SecretStore, issuer: Issuer
) -> None:
    store.store_grant(NAME, due(issuer.grant()))
    masked: list[str] = []
    reader = holder.reader()
    config = {"auth_token": f"${{secret:{NAME}}}", "repositories": ["x"], "other": "${VARIABLE}"}
    assert reader([NAME])[NAME] == "access-2"
    with ExitStack() as stack:
        handed = stack.enter_context(reader.handed_over(config, lambda *all_: masked.extend(all_)))
        door = handed["oauth_door"]
        assert list(door["keys"]) == ["auth_token"]
        assert "refresh-2" not in json.dumps(handed)
        form = {"grant_type": "refresh_token", "refresh_token": door["keys"]["auth_token"]}

        status_, said = ask(door["url"], form)
        assert (status_, said["access_token"], said["token_type"]) == (200, "access-3", "Bearer")
        assert 3500 < said["expires_in"] <= 3600
        assert ask(door["url"], form | {"refresh_token": "guessed"})[0] == 400
        assert ask(door["url"], {"grant_type": "password"})[0] == 400
        issuer.answers = [(500, {}), (400, {"error": "invalid_grant"})]
        assert ask(door["url"], form) == (503, {"error": "temporarily_unavailable"})
        for _ in range(3):
            assert ask(door["url"], form) == (400, {"error": "invalid_grant"})
        assert len(issuer.asked) == 4
    assert {"access-3", "refresh-3", door["keys"]["auth_token"]} <= set(masked)
    with pytest.raises(urllib.error.URLError):
        ask(door["url"], form)


def test_without_grants_there_is_no_door(holder: Holder) -> None:
    with holder.reader().handed_over({"auth_token": "x"}, print) as handed:
        assert handed == {}


def test_the_command_tries_a_grant_and_stores_what_came_of_it(
    database: str,
    issuer: Issuer,
    ring: RingFile,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_VAULT_KEYS", str(ring.path))
    words = ["secret", "grant", NAME, "--token-url", issuer.url, "--client-id", "app"]

    def ipai(text: str, code: int = 0, *more: str) -> str:
        said = CliRunner().invoke(main, [*words, "--scope", "ads", *more], input=text)
        assert said.exit_code == code, said.output
        return said.output

    assert "no refresh token" in ipai("", 78)
    assert "refuses the grant" in ipai("wrong\n", 77)
    told = ipai("refresh-1\nhush-hush\n", 0, "--json")
    assert json.loads(told)["reference"] == f"${{secret:{NAME}}}"
    assert "hush-hush" not in told
    query = (
        "select client_id, scopes, status, access_expires_at > now() from connectors.oauth_grants"
    )
    assert connection.execute(query).fetchone() == ("app", ["ads"], "active", True)
    shown = CliRunner().invoke(main, ["audit", "tokens", "--json"]).output
    (entry,) = json.loads(shown)["entries"]
    assert (entry["kind"], entry["name"], entry["scopes"]) == ("OAuth grant", NAME, ["ads"])
    assert "refresh-2" not in shown
    assert "access-2" not in shown


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CredentialsRefusedError("x", code="y"), "credentials"),
        (TokenEndpointError("x"), "try_again_later"),
    ],
)
def test_a_run_fails_by_what_helps(error: OrchestrateError, expected: str) -> None:
    assert class_of(error) == expected
