# SPDX-License-Identifier: Apache-2.0
"""The command line as its users meet it, on a scripted connector and a real database."""

import functools
import json
import os
import stat
import sys
import textwrap

import click
import psycopg
import pytest
from click.testing import CliRunner

from ipai_kit.spec import SpecError
from ipai_orchestrate import embedded
from ipai_orchestrate.cli import main
from ipai_orchestrate.cli import run as run_module
from ipai_orchestrate.cli import runs as runs_module
from ipai_orchestrate.cli.failure import told
from ipai_orchestrate.exceptions import ConfigurationError, NotFoundError
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.psql import connection_environment, run_psql

SPEC = """
spec_version: 1
name: ipai_connector_scripted
source_type: scripted
title: Scripted
domain: core
api: {version: "1", docs_url: https://docs.example.com, sunset: null,
      base_urls: [https://api.example.com]}
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth: {methods: [{type: bearer, settings: [auth_token]}]}
sync_mode: incremental
schedule: "17 * * * *"
settings:
  auth_token: {type: string, secret: true, description: The token.}
  places: {type: array, items: {type: string}, description: What to read.}
  pages: {type: integer, description: How much.}
streams:
  - {name: items, cursor: id, description: One item.}
  - {name: tags, sync_mode: full_table, description: One tag.}
"""

TAP = """
import argparse, json, sys
parser = argparse.ArgumentParser()
for name in ("config", "state", "catalog", "format"):
    parser.add_argument("--" + name)
for name in ("discover", "about", "test"):
    parser.add_argument("--" + name, action="store_true")
given = parser.parse_args()
schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
entries = [{"stream": name, "schema": schema, "key_properties": ["id"], "replication_key": "id"}
           for name in ("items", "tags", "notes")]
if given.about:
    print(json.dumps({"settings": {"properties": {"start_date": {}, "api_url": {}}}}))
    sys.exit(0)
def say(**line):
    print(json.dumps(line), file=sys.stderr, flush=True)
config = json.load(open(given.config))
if config["auth_token"] == "telling":
    sys.exit(json.dumps({"event": "failed", "message": "No such shop.", "next_step": "Name it."}))
if config["auth_token"] == "garbled":
    print("no catalog today")
    sys.exit("Internal confusion.")
if given.discover:
    print(json.dumps({"streams": entries}))
    sys.exit(0)
if config["auth_token"] != "opens":
    say(event="failed", message="The source refuses the token.", next_step="Renew it.",
        stream="items", exit_code=77)
    sys.exit(77)
state = json.load(open(given.state)) if given.state else {}
seen = state.get("bookmarks", {}).get("items", {}).get("replication_key_value", 0)
def write(**message):
    print(json.dumps(message), flush=True)
write(type="SCHEMA", stream="items", schema=schema, key_properties=["id"])
last = seen + config.get("pages", 2)
for number in range(seen + 1, last + 1):
    record = {"odd": {"id": "text"}, "keyless": {"name": "x"}}.get((config.get("places") or [0])[0])
    write(type="RECORD", stream="items", record=record or {"id": number})
say(event="stream_skipped", stream="tags", reason="No permission.")
say(level="warning", event="slow today")
if config.get("places") == ["noise"]:
    print("noise")
    write(type="RECORD", stream="unknown", record={})
write(type="STATE", value={"bookmarks": {"items": {"replication_key_value": last}}})
"""

TARGET = """
import json, sys
rows = 0
for line in sys.stdin:
    message = json.loads(line)
    rows += message["type"] == "RECORD"
    if message["type"] == "STATE":
        flushed = {"event": "flushed", "stream": "items", "received": rows, "inserted": rows}
        print(json.dumps(flushed), file=sys.stderr, flush=True)
        print(json.dumps(message["value"]), flush=True)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A connector and a target, found as any others are: by metadata and on PATH."""
    package = tmp_path / "site" / "tap_scripted"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "connector.yaml").write_text(SPEC)
    metadata = tmp_path / "site" / "scripted-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(
        "[ipai.connectors]\nscripted = tap_scripted.tap:Tap\n"
    )
    for name, text in (("tap-scripted", TAP), ("target-scripted", TARGET)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return package / "connector.yaml"


@pytest.fixture
def ipai(installed, database, tmp_path, monkeypatch):
    """`ipai` in this process, on a database of its own; asserts the exit code."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRIPTED_TOKEN", "opens")
    options = functools.partial(RunOptions, target="target-scripted")
    monkeypatch.setattr(run_module, "RunOptions", options)

    return Ipai()


class Ipai:
    """Calls the command; everything it says, or what it answers a machine."""

    def __call__(self, *arguments, code=0, stdin=None):
        return self._invoke(arguments, code, stdin).output

    def json(self, *arguments, code=0):
        return json.loads(self._invoke((*arguments, "--json"), code, None).stdout)

    def _invoke(self, arguments, code, stdin):
        done = CliRunner().invoke(main, [str(one) for one in arguments], input=stdin)
        assert code == done.exit_code, done.output
        return done


@pytest.fixture
def instance(ipai):
    ipai("instance", "add", "one", "--source", "scripted", "--set", "auth_token=${SCRIPTED_TOKEN}")
    return "one"


def commands(group=main, path=("ipai",)):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield pytest.param(command, (*path, name), id=" ".join((*path, name)))


@pytest.mark.parametrize(("command", "path"), list(commands()))
def test_every_command_teaches_itself_with_an_example(command, path):
    text = CliRunner().invoke(main, [*path[1:], "--help"]).output

    assert "Example" in text
    assert " ".join(path) in text.split("Example", 1)[1]


def test_an_unknown_command_is_an_error_of_use():
    assert 2 == CliRunner().invoke(main, ["nonsense"]).exit_code


# -- instances -----------------------------------------------------------------------------------


def test_an_instance_is_added_listed_shown_changed_and_paused(ipai, instance):
    changed = ipai.json("instance", "set", "one", "--set", "places=a, b", "--set", "pages=3")
    ipai("instance", "set", "one", "--set", "start_date=2026-01-01", "--schedule", "@daily")
    shown = ipai.json("instance", "show", "one")

    assert {
        "auth_token": "${SCRIPTED_TOKEN}",
        "places": ["a", "b"],
        "pages": 3,
        "start_date": "2026-01-01",
    } == shown["config"]
    assert ("one", 3) == (changed["id"], changed["config"]["pages"])
    ipai("instance", "set", "one", "--unset", "pages", "--schedule", "", "--status", "paused")
    listed = ipai.json("instance", "list")
    assert [("one", "paused", None)] == [(i["id"], i["status"], i["schedule"]) for i in listed]
    assert "pages" not in ipai("instance", "show", "one")
    assert "paused" in ipai("instance", "list")
    assert "ipai instance set INSTANCE --status active" in ipai("run", "one", code=78)


def test_settings_come_from_a_file_too(ipai, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("auth_token: ${SCRIPTED_TOKEN}\nplaces: [x]\n")
    added = ipai.json("instance", "add", "two", "--connector", "scripted", "--config", file)

    assert ("two", ["x"], "active") == (added["id"], added["config"]["places"], added["status"])
    assert "['x']" in ipai("instance", "show", "two")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--connector", "nowhere"], 78, "No connector is installed for source 'nowhere'"),
        (["--connector", "scripted", "--set", "auth_token=s3cret-value"], 78, "auth_token='${"),
        (["--connector", "scripted", "--set", "placs=a"], 78, "Did you mean 'places'"),
        (["--connector", "scripted", "--set", "qqqqq=a"], 78, "Known: api_url, auth_token"),
        (["--connector", "scripted", "--set", "pages=many"], 78, "not of type integer: 'many'"),
        (["--connector", "scripted", "--set", "pages"], 78, "not of the form name=value"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_next_step(ipai, arguments, code, words):
    said = ipai("instance", "add", "two", *arguments, code=code)

    assert words in said.replace("\n", " ")
    assert "s3cret-value" not in said
    assert "[]" == ipai("instance", "list", "--json").strip()


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x80"])
def test_a_file_without_settings_is_refused(ipai, tmp_path, text):
    file = tmp_path / "settings.json"
    file.write_bytes(text.encode("latin-1"))

    ipai("instance", "add", "two", "--connector", "scripted", "--config", file, code=78)


def test_what_exists_is_not_added_again_and_what_does_not_is_named(ipai, instance):
    assert "ipai instance set one" in ipai(
        "instance", "add", "one", "--connector", "scripted", code=78
    )
    assert "'nobody' does not exist" in ipai("instance", "show", "nobody", code=1)
    assert "ipai instance list" in ipai("run", "nobody", code=1)


# -- sources -------------------------------------------------------------------------------------


def test_connectors_lists_what_is_installed(ipai):
    found = ipai.json("connectors")

    assert ("tap-scripted", 2) in [(one["command"], one["streams"]) for one in found]
    assert "Scripted" in ipai("connectors")


def test_discover_lists_streams_with_keys_and_cursors(ipai, instance):
    listed = ipai.json("discover", "one")
    catalog = json.loads(ipai("discover", "one", "--catalog"))

    assert {"stream": "items", "key": "id", "cursor": "id", "fields": 1} == listed[0]
    assert 3 == len(catalog["streams"])


def test_check_tells_how_each_stream_answers(ipai, instance):
    checked = ipai.json("check", "one")
    outcomes = {one["stream"]: one["outcome"] for one in checked["streams"]}

    assert {"items": "ok", "tags": "skipped", "notes": "empty"} == outcomes
    assert "accepts the credentials" in ipai("check", "one", "--stream", "items")


def test_check_ends_with_77_when_the_source_refuses(ipai, instance, monkeypatch):
    monkeypatch.setenv("SCRIPTED_TOKEN", "wrong")
    said = ipai("check", "one", code=77)

    assert "refuses the token. Renew it." in said
    assert "not reached" in said


def test_a_tap_that_cannot_list_its_streams_is_quoted(ipai, instance, monkeypatch):
    monkeypatch.setenv("SCRIPTED_TOKEN", "garbled")

    assert "could not list its streams: Internal confusion." in ipai("discover", "one", code=78)


def test_of_a_tap_that_ends_with_an_event_its_words_are_told(ipai, instance, monkeypatch):
    monkeypatch.setenv("SCRIPTED_TOKEN", "telling")

    said = ipai("discover", "one", code=78)

    assert "could not list its streams: No such shop. Name it." in said
    assert "{" not in said


def test_a_check_names_a_missing_variable(ipai, instance, monkeypatch):
    monkeypatch.delenv("SCRIPTED_TOKEN")

    assert "SCRIPTED_TOKEN" in ipai("check", "one", code=78)


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_ends_with_figures_and_is_found_again(ipai, instance):
    first = ipai("run", "one", "--no-transform", "--log-format", "json")
    second = ipai.json("run", "one", "--no-transform")
    listed = ipai.json("runs", "one")

    assert "Succeeded: 2 rows" in first
    assert "tags: one part left out. No permission." in first
    assert ("succeeded", 2, 0) == (second["status"], second["rows_processed"], second["exit_code"])
    assert second["run_id"] == listed[0]["id"]
    assert "slow today" in ipai("logs")
    assert "slow today" in ipai("logs", second["run_id"][:8], "--level", "warning", "-f")
    assert "flushed" not in ipai("logs", "one")
    lines = [json.loads(line) for line in ipai("logs", "--json", "--level", "debug").splitlines()]
    assert "flushed" in [line["message"] for line in lines]
    assert "incremental" in ipai("runs")


def test_a_failed_run_says_why_and_what_to_do(ipai, instance, monkeypatch):
    monkeypatch.setenv("SCRIPTED_TOKEN", "wrong")
    said = ipai("run", "one", "--no-transform", code=77)

    assert "Failed: The source refuses the token. Renew it." in said
    assert "ipai check one" in said
    assert "The source refuses the token" in ipai("runs")


def test_there_is_nothing_to_see_before_the_first_run(ipai):
    assert "No runs yet" in ipai("runs")
    assert "There are no runs yet" in ipai("logs", code=1)
    assert "No instances yet" in ipai("instance", "list")
    assert "No run matches 'zzz'" in ipai("cancel", "zzz", code=1)


def test_a_run_is_named_by_the_start_of_its_id_among_any_number(
    ipai, instance, control_plane, connection
):
    connection.execute(
        "insert into connectors.connector_runs (id, instance_id, job_name, mode, queued_at)"
        " select ('0000000' || n || '-0000-4000-8000-000000000000')::uuid, 'one', 'sync', 'cdc',"
        " now() - interval '1 day' from generate_series(1, 2) as n"
    )
    for _ in range(201):
        control_plane.enqueue("one")

    assert "before it started" in ipai("cancel", "00000001")
    assert "Several runs begin with '0000000': 00000001" in ipai("cancel", "0000000", code=1)
    assert "No run matches ''" in ipai("cancel", "", code=1)


def test_a_finished_run_cannot_be_cancelled_and_a_queued_one_can(ipai, instance, control_plane):
    run_id = control_plane.enqueue("one")

    assert "before it started" in ipai("cancel", run_id)
    assert "ended already" in ipai("cancel", str(run_id)[:6])


def test_logs_follow_a_run_to_its_end(ipai, instance, control_plane, monkeypatch):
    run = control_plane.claim(control_plane.enqueue("one"), "test", 60)
    control_plane.append_logs(run, [{"message": "first", "source": "runner"}])

    def meanwhile(seconds):
        control_plane.append_logs(run, [{"message": "second", "source": "tap", "stream": "items"}])
        control_plane.complete(run, stateless=True)

    monkeypatch.setattr(runs_module.time, "sleep", meanwhile)
    said = ipai("logs", "-f")

    assert said.index("first") < said.index("second")


# -- dry runs ------------------------------------------------------------------------------------


def test_a_dry_run_reads_and_checks_everything_and_stores_nothing(ipai, instance, connection):
    said = ipai("run", "one", "--dry-run")
    only_items = ipai.json("run", "one", "--dry-run", "--stream", "items")
    runs = connection.execute("select count(*) from connectors.connector_runs").fetchone()

    assert "Valid: 2 records read" in said
    assert 2 == only_items["streams"][0]["records"]
    assert (0,) == runs


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ("odd", "breaks the rule 'type': 'integer'"),
        ("keyless", "Key 'id' is missing"),
        ("noise", "Not a Singer message"),
    ],
)
def test_a_dry_run_ends_with_65_when_records_are_not_as_announced(ipai, instance, places, words):
    ipai("instance", "set", "one", "--set", f"places={places}")
    said = ipai("run", "one", "--dry-run", code=65)

    assert words in said
    assert "nothing stored" in said


def test_a_dry_run_ends_as_its_tap_does(ipai, instance, monkeypatch):
    monkeypatch.setenv("SCRIPTED_TOKEN", "wrong")

    assert "refuses the token" in ipai("run", "one", "--dry-run", code=77)


# -- state ---------------------------------------------------------------------------------------


def test_state_is_shown_set_and_rolled_back(ipai, instance, tmp_path):
    assert "{}" == ipai("state", "get", "one").strip()
    assert "No state yet" in ipai("state", "history", "one")
    ipai("run", "one", "--no-transform")
    ipai("state", "set", "one", "-", stdin='{"bookmarks": {"items": {"replication_key_value": 9}}}')
    ipai("state", "rollback", "one", "--version", "1")
    stored = json.loads(ipai("state", "get", "one"))
    reasons = [one["reason"] for one in ipai.json("state", "history", "one")]

    assert 2 == stored["bookmarks"]["items"]["replication_key_value"]
    assert ["rollback", "set", "run"] == reasons
    assert "rollback" in ipai("state", "history", "one")
    assert "not JSON" in ipai("state", "set", "one", "-", stdin="{", code=78)
    assert "ipai state history" in ipai("state", "rollback", "one", "--version", "99", code=1)


# -- specs, new taps, environment -----------------------------------------------------------------


def test_a_spec_is_explained_by_name_and_checked_by_path(ipai, installed):
    assert "ipai_bronze_core.raw_scripted_items" in ipai("spec", "explain", "scripted")
    assert "places" in ipai.json("spec", "explain", installed)["properties"]
    assert "Valid." in ipai("spec", "validate", installed.parent)
    installed.write_text(SPEC.replace("domain: core", "domain: elsewhere"))
    assert "Not valid." in ipai("spec", "validate", installed, code=78)
    assert 1 == len(ipai.json("spec", "validate", installed, code=78))


def test_a_new_tap_is_written(ipai, tmp_path):
    said = ipai("new", "tap", "jira", "--root", tmp_path)

    assert (tmp_path / "taps" / "tap-jira" / "tap_jira" / "connector.yaml").is_file()
    assert "make setup" in said
    ipai("new", "tap", "jira", "--root", tmp_path, code=78)


def test_env_prints_what_a_shell_can_read(ipai, database):
    assert f"export IPAI_DATABASE_URL='{database}'" in ipai("env")
    assert database == ipai.json("env")["IPAI_DATABASE_URL"]
    assert database == ipai("db", "url").strip()


def test_a_sandbox_that_does_not_exist_is_named(ipai):
    assert "No sandbox for source 'nowhere'" in ipai("sandbox", "up", "nowhere", code=78)


# -- the database --------------------------------------------------------------------------------


def test_a_foreign_server_is_neither_started_nor_stopped(ipai):
    assert "Unset it" in ipai("db", "start", code=78)
    assert "Unset it" in ipai("db", "stop", code=78)
    assert "commands use that database" in ipai("db", "status")


def test_migrate_says_what_it_did(ipai, empty_database, monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", empty_database)

    assert "ipai db migrate" in ipai("runs", code=78)
    assert "20261121000300" in ipai("db", "migrate")
    assert "Up to date." in ipai("db", "migrate")
    assert [] == ipai.json("db", "migrate")["applied"]


def test_the_embedded_server_is_started_and_stopped(ipai, server, monkeypatch):
    monkeypatch.delenv("IPAI_DATABASE_URL")
    calls = []
    monkeypatch.setattr(embedded, "start", lambda: calls.append("start") or "postgresql://x")
    monkeypatch.setattr(embedded, "stop", lambda *, force: calls.append(force))

    assert "postgresql://x" in ipai("db", "start")
    ipai("db", "stop", "--force")
    assert {"running": True, "url": "postgresql://x"} == ipai.json("db", "start")
    assert {"running": False} == ipai.json("db", "stop")
    assert ["start", True, "start", False] == calls


def test_psql_gets_the_address_without_its_password_in_the_arguments(database, capfd):
    assert 0 == run_psql(database, ["-Atc", "select 'it is ' || current_database()"])
    assert (
        f"it is {psycopg.conninfo.conninfo_to_dict(database)['dbname']}" in capfd.readouterr().out
    )
    environment = connection_environment("postgresql://me:hidden@host:5433/base?sslmode=require")

    assert {
        "PGHOST": "host",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGPASSWORD": "hidden",
        "PGDATABASE": "base",
        "PGSSLMODE": "require",
    } == environment


def test_psql_is_reached_through_ipai(ipai, capfd):
    ipai("db", "psql", "-Atc", "select 6 * 7")

    assert "42" in capfd.readouterr().out


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (ConfigurationError("Change it."), "Change it.", 78),
        (
            NotFoundError("Gone.", hint="See connector_list()."),
            "Gone. See `ipai instance list`.",
            1,
        ),
        (SpecError("x.yaml", []), "x.yaml", 78),
        (psycopg.OperationalError("no route to postgresql://a:b2c3@h"), "cannot be reached", 75),
        (psycopg.OperationalError("refused"), "See `ipai db status`, then try again.", 75),
        (NotFoundError("Gone.", hint="See pipeline_list()."), "See `ipai pipeline list`.", 1),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", 70),
    ],
)
def test_an_error_is_told_in_words_with_a_code_by_class(error, words, code):
    text, exit_code = told(error)

    assert words in text
    assert "b2c3" not in text
    assert code == exit_code


def commands(command, name="ipai"):
    """Every command below, with its name."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            yield from commands(command.get_command(context, each), f"{name} {each}")


def test_every_option_says_what_it_does():
    silent = [
        f"{name} {option.opts[0]}"
        for name, command in commands(main)
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]

    assert [] == silent


def test_a_command_that_is_none_is_answered_by_the_one_that_was_meant():
    ended = CliRunner().invoke(main, ["connecters"])

    assert 2 == ended.exit_code
    assert "Did you mean `ipai connectors`?" in ended.stderr.replace("main", "ipai")
    assert "Did you mean" not in CliRunner().invoke(main, ["xyzzy"]).stderr


def test_an_address_of_the_database_that_is_none_is_a_setting_and_not_repeated(monkeypatch):
    monkeypatch.setenv("IPAI_DATABASE_URL", "postgresql:/me:b2c3@h")

    ended = CliRunner().invoke(main, ["runs"])

    assert 78 == ended.exit_code
    assert "IPAI_DATABASE_URL" in ended.stderr
    assert "b2c3" not in ended.output


def test_a_state_that_is_no_object_is_not_stored(tmp_path):
    file = tmp_path / "state.json"
    file.write_text("[]")

    ended = CliRunner().invoke(main, ["state", "set", "anything", str(file)])

    assert 78 == ended.exit_code
    assert "The state is [] and no JSON object." in ended.stderr


def test_the_traceback_is_shown_to_who_asks_for_it(monkeypatch, capsys):
    monkeypatch.setenv("IPAI_DEBUG", "1")
    told(ZeroDivisionError("by zero"))

    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1), (RuntimeError("x"), 70)],
)
def test_the_edge_of_the_program_ends_with_a_code(monkeypatch, error, code, tmp_path):
    def fail(*_):
        raise error

    monkeypatch.setattr("ipai_orchestrate.cli.source.discover_connectors", fail)
    if isinstance(error, BrokenPipeError):
        monkeypatch.setattr(os, "dup2", lambda *_: None)

    assert code == CliRunner().invoke(main, ["connectors"]).exit_code


@pytest.mark.parametrize("plural", ["instances", "pipelines", "schedules", "secrets", "webhooks"])
def test_a_thing_is_found_by_its_plural_too(plural):
    context = click.Context(main)

    found = main.get_command(context, plural)

    assert found is main.get_command(context, plural.removesuffix("s"))
    assert plural not in main.list_commands(context)
    assert 0 == CliRunner().invoke(main, [plural, "--help"]).exit_code
