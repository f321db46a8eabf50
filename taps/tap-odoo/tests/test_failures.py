# SPDX-License-Identifier: Apache-2.0
"""Every failure says what to do; what concerns one model leaves the others alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipai_kit.exceptions import (
    ConfigurationError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.rest import Reply
from ipai_kit.rest.retry import Action
from ipai_kit.testing import run_tap, running_sandbox
from tap_odoo.api.calls import _result
from tap_odoo.api.replies import classify_odoo
from tap_odoo.fields import decimal_text
from tap_odoo.tap import TapOdoo

COMMAND = str(Path(sys.executable).parent / "tap-odoo")
FAST = {"requests_per_second": 500, "max_wait_seconds": 0}


def skipped(run: Any) -> dict[str, str]:
    return {one["stream"]: one["reason"] for one in run.events if one["event"] == "stream_skipped"}


# -- the API ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "settings", "error", "words"),
    [
        (18, {"api_key": "wrong"}, CredentialsError, "refuses the password"),
        (18, {"login": "nobody"}, CredentialsError, "refuses the password of 'nobody'"),
        (19, {"api_key": "wrong"}, CredentialsError, "refuses the API key"),
        (18, {"database": "other"}, ConfigurationError, "no such database"),
        (18, {"database": ""}, ConfigurationError, "Setting 'database' is missing"),
        (18, {"api_key": ""}, ConfigurationError, "'api_key' and 'password' are both missing"),
        (18, {"url": ""}, ConfigurationError, "Setting 'url' is missing"),
        (18, {"url": "http://erp.example.com"}, ConfigurationError, "not encrypted"),
        (18, {"url": "http://127.0.0.1:9"}, TryAgainLaterError, "No reply came"),
        (18, {"company_ids": [7]}, ConfigurationError, r"does not see company 7, only \[1, 2\]"),
        (18, {"models": ["no.model"]}, ConfigurationError, "'no.model' is not installed"),
        (18, {"models": ["res.parner"]}, ConfigurationError, "Similar ones are 'res.partner'"),
        (15, {}, ConfigurationError, "Odoo 15 is too old"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    version: int, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with running_sandbox("odoo", version=version) as url:
        config = {**url.config(), **FAST, "api_url": "", **settings}
        if version == 18 and "login" not in config:
            config["login"] = "reader@example.com"

        with pytest.raises(error, match=words):
            run_tap(TapOdoo, config)


@pytest.mark.parametrize("version", [18, 19])
def test_a_model_that_the_user_may_not_read_leaves_the_others_alone(version: int) -> None:
    with running_sandbox("odoo", version=version, denied="account.move.line") as url:
        run = run_tap(TapOdoo, {**url.config(), **FAST})

    assert "may not read this model" in skipped(run)["account_move_line"]
    assert len(run.records["account_move"]) == 6
    assert "account_move_line" not in run.state["bookmarks"] or not run.state["bookmarks"][
        "account_move_line"
    ].get("replication_key_value")


@pytest.mark.parametrize("version", [18, 19])
def test_only_installed_models_are_streams(version: int) -> None:
    with running_sandbox("odoo", version=version, missing="hr.employee,crm.lead") as url:
        streams = TapOdoo(config={**url.config(), **FAST}).streams

    assert {"hr_employee", "crm_lead"}.isdisjoint(streams)
    assert {"res_partner", "account_invoice"} <= set(streams)


def test_a_server_that_fails_for_a_moment_is_asked_again() -> None:
    with running_sandbox("odoo") as url:
        url.fault("status", status=502, match="POST /jsonrpc", times=2)
        config = {**url.config(), **FAST, "max_wait_seconds": 30}
        run = run_tap(TapOdoo, config, select=["res_company"])

    assert len(run.records["res_company"]) == 2


def reply(status: int, **body: Any) -> Reply:
    return Reply(status, {}, json.dumps(body).encode(), "https://erp.example.com/jsonrpc")


def told(name: str, message: str = "") -> dict[str, Any]:
    """An error as JSON-RPC tells it."""
    data = {"name": name, "message": message, "debug": "Traceback …"}
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": 200, "message": "Odoo", "data": data}}


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (reply(200, result=[{"error": "a word in a record"}]), Action.OK),
        (reply(200, **told("odoo.exceptions.AccessDenied", "Access Denied")), Action.CREDENTIALS),
        (reply(200, **told("odoo.exceptions.AccessError", "Not you")), Action.SKIP),
        (reply(200, **told("odoo.exceptions.UserError", "Object x doesn't exist")), Action.SKIP),
        (reply(200, **told("odoo.exceptions.UserError", "Invalid language code: xx")),
         Action.CONFIGURATION),
        (reply(200, **told("builtins.ValueError", "Invalid field 'x'")), Action.INTERNAL),
        (reply(200, **told("psycopg2.errors.SerializationFailure", "again")), Action.RETRY),
        (reply(200, **told("psycopg2.OperationalError", 'database "x" does not exist')),
         Action.CONFIGURATION),
        (reply(401, name="werkzeug.exceptions.Unauthorized", message="no"), Action.CREDENTIALS),
        (reply(403, name="odoo.exceptions.AccessError", message="no"), Action.SKIP),
        (reply(404, name="werkzeug.exceptions.NotFound", message="no model"), Action.SKIP),
        (reply(422, name="builtins.TypeError", message="bad"), Action.INTERNAL),
        (reply(429, message="slowly"), Action.LIMITED),
        (reply(503, message="down"), Action.RETRY),
        (Reply(502, {}, b"<html>", "https://erp.example.com"), Action.RETRY),
        (Reply(303, {"location": "/web/login"}, b"", "https://erp.example.com"),
         Action.CONFIGURATION),
        (Reply(200, {}, b'["error"]', "https://erp.example.com"), Action.OK),
        (reply(200, **told("odoo.http.SessionExpiredException", "expired")), Action.CREDENTIALS),
        (reply(200, **told("odoo.exceptions.MissingError", "deleted")), Action.RETRY),
        (reply(200, **told("builtins.MemoryError")), Action.INTERNAL),
        (reply(200, error="boom"), Action.INTERNAL),
        (reply(200, error={"code": 200, "message": "boom", "data": None}), Action.INTERNAL),
        (Reply(413, {}, b"<html>", "https://erp.example.com"), Action.INTERNAL),
    ],
)  # fmt: skip
def test_replies_are_judged_by_what_they_tell(given: Reply, action: Action) -> None:
    assert classify_odoo(given).action is action


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"result": [{"a": NaN, "b": -Infinity, "c": 0.10}]}', ["NaN", "-Infinity", "0.1"]),
        (b'{"result": [{"c": 12345678901234.56}]}', ["12345678901234.56"]),
    ],
)
def test_numbers_of_replies_keep_their_digits(body: bytes, wanted: list[str]) -> None:
    verdict = classify_odoo(Reply(200, {}, body, ""))

    (row,) = _result(Reply(200, {}, body, ""), verdict)

    assert [decimal_text(one) for one in row.values()] == wanted


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"jsonrpc": "2.0"}', b"[]", b'{"result": NaN', b"null"]
)
def test_what_is_no_answer_is_asked_for_again(body: bytes) -> None:
    given = Reply(200, {}, body, "")

    with pytest.raises(msgspec.DecodeError):
        _result(given, classify_odoo(given))


def test_a_refused_request_fails_its_stream_while_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tap_odoo.api import source

    asked = source.fields_to_ask

    def wrongly(shape: Any) -> list[str]:
        wrong = ["no_such_field"] if shape.stream.name == "res_currency" else []
        return [*asked(shape), *wrong]

    monkeypatch.setattr(source, "fields_to_ask", wrongly)
    with running_sandbox("odoo") as url:
        config = {**url.config(), **FAST}
        with pytest.raises(InternalError, match="no_such_field"):
            run_tap(TapOdoo, config, select=["res_currency", "res_partner"])


# -- the database -------------------------------------------------------------------------------


def test_a_table_that_the_role_may_not_read_leaves_the_others_alone(make_database: Any) -> None:
    database = make_database(18)
    role = f"reader_{os.getpid()}"
    database.execute(f"create role {role} login")
    database.execute(f"grant select on all tables in schema public to {role}")
    database.execute(f"revoke select on account_move_line, res_users_company_ids_rel from {role}")
    config = database.config(database_url=database.url.replace("postgres@", f"{role}@"))

    run = run_tap(TapOdoo, config)

    reasons = skipped(run)
    assert set(reasons) == {"account_move_line", "res_users"}
    assert "permission denied for table res_users_company_ids_rel" in reasons["res_users"]
    assert len(run.records["account_move"]) == 6
    assert run.records["res_users"] == []
    database.execute(f"drop owned by {role}")
    database.execute(f"drop role {role}")


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("", ConfigurationError, "Setting 'database_url' is missing"),
        ("nonsense", ConfigurationError, "unknown scheme"),
        ("postgresql://x@127.0.0.1:9/x", TryAgainLaterError, "cannot be reached"),
        ("postgresql://x@erp.invalid/x?sslmode=disable", ConfigurationError, "sslmode"),
        ("mysql://x@127.0.0.1/x", ConfigurationError, "leads to 'mysql'"),
    ],
)
def test_addresses_that_lead_nowhere_are_named(
    url: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_tap(TapOdoo, {"database_url": url, "url": "https://erp.example.com"})


def test_a_version_that_is_too_old_is_refused_and_one_between_two_is_read(
    make_database: Any,
) -> None:
    database = make_database(18)
    release = "update ir_module_module set latest_version = '{}' where name = 'base'"
    database.execute(release.format("saas~18.2.1.3"))
    assert len(database.run(select=["res_company"]).records["res_company"]) == 2

    database.execute(release.format("15.0.1.3"))

    with pytest.raises(ConfigurationError, match="Odoo 15 is too old"):
        database.run()


def test_a_database_of_something_else_is_named(server: Any) -> None:
    with pytest.raises(ConfigurationError, match="none of Odoo's"):
        run_tap(TapOdoo, {"database_url": server.url("postgres")})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"company_id": 9}, r"no company 9; the database has \[1, 2\]"),
        ({"company_ids": [1, 9]}, "no company 9"),
        ({"models": ["no.model"]}, "'no.model' is not installed"),
        ({"models": ["res.parner"]}, "Similar ones are 'res.partner'"),
        ({"models": ["mail.thread"]}, "'mail.thread' has no table 'mail_thread'"),
        ({"language": "fr_FRR"}, r"'fr_FRR' is not installed; the database has \['fr_FR'\]"),
    ],
)
def test_names_that_the_database_lacks_are_told(
    described: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        described.run(**settings)


@pytest.fixture(scope="module")
def described(make_database: Any) -> Any:
    """A database that knows its languages, and a model without a table."""
    database = make_database(18)
    database.execute("create table res_lang (code varchar, active boolean)")
    database.execute("insert into res_lang values ('fr_FR', true), ('fr_FRR', false)")
    database.execute("insert into ir_model (model) values ('mail.thread')")
    return database


@pytest.fixture
def reader(described: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """A role that may read everything, and the way to read as it."""
    role = f"reader_{os.getpid()}"
    described.execute(f"create role {role} login")
    described.execute(f"grant select on all tables in schema public to {role}")
    yield role, described.config(database_url=described.url.replace("postgres@", f"{role}@"))
    described.execute("grant usage on schema public to public")
    described.execute(f"drop owned by {role}")
    described.execute(f"drop role {role}")


@pytest.mark.parametrize(
    ("revoked", "words"),
    [
        ("select on ir_model", "may not read what models there are: .* ir_model"),
        ("select on ir_default", "may not read what models there are: .* ir_default"),
        ("usage on schema public", "may not use the schema"),
    ],
)
def test_rights_that_discovery_needs_are_named(
    described: Any, reader: Any, revoked: str, words: str
) -> None:
    described.execute(f"revoke {revoked} from public, {reader[0]}")

    with pytest.raises(CredentialsError, match=words):
        TapOdoo(config=reader[1]).streams  # noqa: B018


def test_columns_that_the_role_may_not_read_are_null(described: Any, reader: Any) -> None:
    described.execute(f"revoke select on res_partner from {reader[0]}")
    described.execute(f"grant select (id, name, write_date) on res_partner to {reader[0]}")

    run = run_tap(TapOdoo, reader[1], select=["res_partner"])

    found = run.records["res_partner"]
    assert len(found) == 6
    assert {one["email"] for one in found} == {None}
    assert found[0]["name"]
    assert "'email'" in run.stderr


def test_a_broken_connection_is_something_to_try_again(make_database: Any) -> None:
    database = make_database(18)
    tap = TapOdoo(config=database.config())
    shape = tap.streams["res_partner"].shape
    tap.source.high_water(shape)
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    with pytest.raises(TryAgainLaterError):
        tap.source.high_water(shape)

    assert tap.source.high_water(shape) == "2026-01-05T08:00:05.250005+00:00"


def test_secrets_stay_out_of_messages() -> None:
    config = {"database_url": "postgresql://reader:geheim123@127.0.0.1:9/odoo"}
    done = subprocess.run(
        [COMMAND, "--config", "/dev/stdin"],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 75
    assert "geheim123" not in done.stderr + done.stdout
