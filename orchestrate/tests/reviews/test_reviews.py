# SPDX-License-Identifier: Apache-2.0
"""Reviews of access, credentials and retention: what they show, who signs, what shows a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ConflictError,
    ControlPlaneError,
    RefusedError,
)
from ipai_orchestrate.monitor import AlertBook
from ipai_orchestrate.reviews import ReviewBook, day_of

Connection = psycopg.Connection[tuple[Any, ...]]
MakeInstance = Callable[..., str]

AUTH = [{"type": "bearer", "settings": ["auth_token"], "scopes": ["repo", "read:org"]}]
STORE = """
    insert into connectors.secrets (name, secret_id, created_by, created_at, expires_at)
    values (%s, gen_random_uuid(), 'me', now() - %s::interval, now() + %s::interval)
"""


@pytest.fixture
def book(connection: Connection) -> ReviewBook:
    return ReviewBook(connection)


@pytest.fixture
def logins(server: Any) -> Any:
    made: list[str] = []

    def make(role: str) -> str:
        name = f"review_{len(made)}_{role}"
        statement = sql.SQL("create role {} login in role {}")
        server.execute(statement.format(sql.Identifier(name), sql.Identifier(role)))
        made.append(name)
        return name

    yield make
    for name in made:
        server.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def found(book: ReviewBook, kind: str, key: str) -> dict[str, Any]:
    return {row[key]: row for row in book.take(kind).rows}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("access", "2026-11", date(2026, 11, 1)),
        ("tokens", "2026-Q4", date(2026, 10, 1)),
        ("retention", "2026", date(2026, 1, 1)),
        ("access", None, None),
    ],
)
def test_a_period_is_written_as_people_say_it(kind: str, text: str | None, expected: Any) -> None:
    assert day_of(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "text"), [("access", "2026-13"), ("access", "2026"), ("tokens", "2026-Q5")]
)
def test_what_is_no_period_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no period"):
        day_of(kind, text)


def test_access_lists_each_login_with_its_role_connector_and_last_use(
    book: ReviewBook,
    database: str,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
    logins: Callable[[str], str],
) -> None:
    make_instance()
    run_id = control_plane.enqueue("github-acme")
    busy, idle = logins("ipai_worker"), logins("ipai_operator")
    with psycopg.connect(database.replace("postgres@", f"{busy}@"), autocommit=True) as opened:
        assert ControlPlane(opened).claim(run_id, "w") is not None

    rows = found(book, "access", "login")

    assert rows[busy]["connector"] == rows[idle]["connector"] == "ipai_connector_github"
    assert (rows[busy]["role"], rows[busy]["uses"], rows[busy]["finding"]) == (
        "ipai_worker",
        1,
        None,
    )
    assert rows[busy]["last_used_at"] is not None
    assert (rows[idle]["role"], rows[idle]["finding"]) == (
        "ipai_operator",
        "not used in the period",
    )
    assert rows["postgres"]["role"] == "(superuser)"


def test_access_shows_who_has_used_a_connector_and_holds_no_right_any_more(
    book: ReviewBook,
    connection: Connection,
    control_plane: ControlPlane,
    make_instance: MakeInstance,
) -> None:
    make_instance()
    control_plane.enqueue("github-acme")
    for actor in ("gone", "authenticator/7"):
        query = "update connectors.connector_runs set actor = %s"
        connection.execute(query, (actor,))
        row = found(book, "access", "login")[actor]
        assert row["role"] == (None if actor == "gone" else "(API)")
        assert (row["finding"] is not None) == (actor == "gone")


def test_tokens_lists_credentials_with_age_scopes_and_use_not_connectors(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance
) -> None:
    spec = {"auth_methods": AUTH}
    make_instance("one", spec=spec, config={"auth_token": "${secret:old/token}"})
    make_instance("two", spec=spec, config={"auth_token": "${GITHUB_TOKEN}", "region": "${REGION}"})
    make_instance("three", spec=spec, config={"auth_token": "${secret:lost}"})
    connection.execute(STORE, ("old/token", "100 days", "20 days"))
    connection.execute(STORE, ("unused", "1 day", "300 days"))

    rows = found(book, "tokens", "name")

    assert set(rows) == {"old/token", "GITHUB_TOKEN", "lost", "unused"}
    old = rows["old/token"]
    assert (old["kind"], old["age_days"], old["used_by"]) == ("stored", 100, ["one"])
    assert old["scopes"] == ["read:org", "repo"]
    assert old["finding"] == "expires within 30 days; older than 90 days: rotate it"
    assert rows["GITHUB_TOKEN"]["kind"] == "environment variable"
    assert rows["lost"]["finding"] == "referred to, but not stored"
    assert rows["unused"]["finding"] == "no instance uses it"


def test_retention_proves_the_oldest_row_of_each_layer_and_the_archives(
    book: ReviewBook, connection: Connection
) -> None:
    for name, age in (("raw_a", "40 days"), ("raw_b", "10 days"), ('"Raw c.d"', "40 days")):
        connection.execute(
            f"create table ipai_bronze_devops.{name} as"
            f" select now() - interval '{age}' as loaded_at".encode()
        )
    connection.execute(
        "create table ipai_gold_core.kept as select now() - interval '9 y' as loaded_at"
    )
    connection.execute("create view ipai_gold_core.shown as select 1 as a")
    connection.execute("create table ipai_silver_core.blind (a int)")
    connection.execute("create table ipai_bronze_core.raw_none (loaded_at timestamptz)")
    archive = (
        "select connectors.record_archive('bronze', 'ipai_bronze_devops.\"Raw c.d\"',"
        " now() - interval '50 days', now() - interval '30 days', 's3://cold/1', 5,"
        " repeat('a', 64), verified_at => %s)"
    )
    connection.execute(archive, (None,))

    rows = found(book, "retention", "relation")

    late = "older than kept, and in no archive that was verified"
    assert rows["ipai_bronze_devops.raw_a"]["finding"] == late
    assert rows["ipai_bronze_devops.raw_a"]["age_days"] == 40
    assert rows["ipai_bronze_devops.raw_b"]["finding"] is None
    assert rows['ipai_bronze_devops."Raw c.d"']["finding"] == late
    assert rows["ipai_gold_core.kept"]["finding"] is None
    assert rows["ipai_gold_core.kept"]["keep_days"] is None
    assert rows["ipai_gold_core.shown"]["oldest_at"] is None
    assert "no column" in rows["ipai_silver_core.blind"]["finding"]
    assert rows["ipai_bronze_core.raw_none"]["finding"] is None
    assert rows['ipai_bronze_devops."Raw c.d" in s3://cold/1']["finding"] == "never read back"
    connection.execute(archive, ("2026-11-21",))
    rows = found(book, "retention", "relation")
    assert rows['ipai_bronze_devops."Raw c.d"']["finding"] == "older than kept"
    assert rows['ipai_bronze_devops."Raw c.d" in s3://cold/1']["finding"] is None


def test_a_table_that_the_reviewer_cannot_read_or_did_not_measure_is_said(
    book: ReviewBook, connection: Connection, database: str, logins: Callable[[str], str]
) -> None:
    connection.execute("create table ipai_bronze_core.raw_a (loaded_at timestamptz)")
    connection.execute("revoke all on ipai_bronze_core.raw_a from ipai_operator")
    operator = logins("ipai_operator")
    with psycopg.connect(database.replace("postgres@", f"{operator}@"), autocommit=True) as opened:
        row = found(ReviewBook(opened), "retention", "relation")["ipai_bronze_core.raw_a"]
        assert row["finding"].startswith("cannot be read: permission denied")
    plain = connection.execute("select content from connectors.take_review('retention')").fetchone()
    assert plain is not None
    rows = {row["relation"]: row["finding"] for row in json.loads(plain[0])}
    assert rows["ipai_bronze_core.raw_a"] == "not measured"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"location": "s3://key:secret@cold/1"}, "not described whole"),
        ({"content_hash": "x"}, "not described whole"),
        ({"layer": "gold"}, "not described whole"),
        ({}, "in the inventory already"),
    ],
)
def test_an_archive_is_described_whole_and_once(
    connection: Connection, change: dict[str, str], message: str
) -> None:
    plain = {"layer": "bronze", "location": "s3://cold/1", "content_hash": "a" * 64}
    query = (
        "select connectors.record_archive(%(layer)s, 't', now(), now(), %(location)s, 1,"
        " %(content_hash)s)"
    )
    connection.execute(query, plain)
    with pytest.raises(psycopg.Error, match=message):
        connection.execute(query, plain | {"location": "s3://cold/1"} | change)


def test_a_report_is_signed_once_and_into_the_chained_log(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    seen = book.take("access")
    seq = book.sign(seen, "as it should be")

    (kept,) = book.all("access")
    assert (kept.signed_by, kept.note, kept.audit_seq) == ("postgres", "as it should be", seq)
    query = "select action, secret_name, secret_id, detail from connectors.secret_audit"
    name = f"review/access/{seen.starts_on}"
    detail = f"sha256:{seen.content_hash} as it should be"
    assert connection.execute(query).fetchall() == [("review", name, seen.id, detail)]
    assert book.problems() == []
    with pytest.raises(ConflictError, match="was signed by postgres"):
        book.sign(seen)


def test_an_empty_report_cannot_be_signed(book: ReviewBook) -> None:
    seen = book.take("access")

    assert (seen.entries, seen.rows) == (0, [])
    with pytest.raises(RefusedError, match="has no entries"):
        book.sign(seen)


def test_what_was_not_seen_cannot_be_signed(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    seen = book.take("access")
    sign = "select connectors.sign_review(%s, %s)"
    with pytest.raises(psycopg.Error, match="is not what was seen"):
        connection.execute(sign, (seen.id, "0" * 64))
    with pytest.raises(psycopg.Error, match="does not exist"):
        connection.execute(sign, (uuid4(), seen.content_hash))
    for kind, day in (
        ("nonsense", None),
        ("access", date(2020, 1, 1)),
        ("access", date(2999, 1, 1)),
    ):
        with pytest.raises(ControlPlaneError):
            book.take(kind, day)


@pytest.mark.parametrize(
    "statement",
    [
        "update connectors.reviews set entries = 1, content = '[1]'",
        "update connectors.reviews set note = 'other'",
        "delete from connectors.reviews",
        "truncate connectors.reviews",
    ],
)
def test_a_signed_report_is_not_changed_by_its_owner_and_where_it_was_it_shows(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance, statement: str
) -> None:
    make_instance()
    book.sign(book.take("access"))
    with pytest.raises(psycopg.Error, match="cannot be changed by"):
        connection.execute(statement.encode())
    connection.execute("alter table connectors.reviews disable trigger all")
    connection.execute(statement.encode())
    assert len(book.problems()) == ("note" not in statement)


def test_a_signature_that_the_log_does_not_have_shows(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance
) -> None:
    make_instance()
    connection.execute("select connectors.append_secret_audit('grant', 'x')")
    seen = book.take("access")
    connection.execute(
        "update connectors.reviews set signed_at = now(), signed_by = 'x', audit_seq = 1"
    )

    assert book.problems() == [f"Review {seen.id} has a signature that is not in the log."]


def test_a_review_that_nobody_signs_in_time_is_an_alert_until_one_is_signed(
    book: ReviewBook, connection: Connection, make_instance: MakeInstance
) -> None:
    alerts = AlertBook(connection)
    connection.execute("update connectors.review_kinds set grace = '0'")
    assert alerts.check() == []
    make_instance()
    assert alerts.check() == []  # the first period is not over
    connection.execute("update connectors.review_kinds set since = '2020-01-01'")

    opened = {one.subject: one.change for one in alerts.check()}
    expected = {f"review of {kind}" for kind in ("access", "tokens", "retention")}
    # On the first day of a period there is still time.
    assert opened.keys() <= expected
    assert len(opened) == len(expected) or date.today().day == 1  # noqa: DTZ011
    last_month = date.today().replace(day=1) - timedelta(days=1)  # noqa: DTZ011
    book.sign(book.take("access", last_month))
    if opened:
        assert [(one.subject, one.change) for one in alerts.check()] == [
            ("review of access", "resolved")
        ]


def test_a_signature_takes_an_admin(
    book: ReviewBook, make_instance: MakeInstance, database: str, logins: Callable[[str], str]
) -> None:
    make_instance()
    operator = logins("ipai_operator")
    with psycopg.connect(database.replace("postgres@", f"{operator}@"), autocommit=True) as opened:
        theirs = ReviewBook(opened)
        seen = theirs.take("access")
        with pytest.raises(ConfigurationError, match="may not do this"):
            theirs.sign(seen)
    book.sign(seen)


def test_the_command_shows_a_report_and_signs_what_was_shown(
    database: str, make_instance: MakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    make_instance(config={"auth_token": "${GITHUB_TOKEN}"})

    def ipai(*words: str, code: int = 0) -> str:
        said = CliRunner().invoke(main, ["audit", *words])
        assert said.exit_code == code, said.output
        return said.output

    assert "Look at it first: ipai audit tokens" in ipai("tokens", "--sign-off", code=1)
    assert "GITHUB_TOKEN" in ipai("tokens")
    shown = json.loads(ipai("tokens", "--json"))
    assert shown["entries"][0]["name"] == "GITHUB_TOKEN"
    signed = ipai("tokens", "--sign-off", "--note", "rotated")
    assert f"sha256:{shown['content_hash']}" in signed
    assert "Signed by postgres in row 1 of the log." in signed
    assert "since it was signed by postgres" in ipai("tokens", "--sign-off", code=1)
    for words in (["access"], ["retention"]):
        assert "entries" in ipai(*words)
    assert "rotated" in ipai("reviews")
    assert len(json.loads(ipai("reviews", "--json"))) == 4
    assert json.loads(ipai("verify", "--json"))["intact"]
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("alter table connectors.reviews disable trigger all")
        owner.execute("update connectors.reviews set signed_by = 'nobody' where note = 'rotated'")
    assert "was signed by 'postgres', not by 'nobody'" in ipai("verify", code=1)
    assert "is no period" in ipai("access", "--month", "November", code=78)
