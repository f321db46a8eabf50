# SPDX-License-Identifier: Apache-2.0
"""The first run of a source, asked and unattended, on the stand-in of GitHub."""

import functools
import json
import signal

import pytest
from click.testing import CliRunner

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.cli import init as init_module
from ipai_orchestrate.cli import main
from ipai_orchestrate.exceptions import SecretError
from ipai_orchestrate.first_run import keeping
from ipai_orchestrate.pipeline import runner as runner_module
from ipai_orchestrate.sandbox import running_sandbox
from ipai_orchestrate.transform import TransformResult

pytestmark = pytest.mark.skipif(
    "github" not in discover_connectors(), reason="needs tap-github in the same environment"
)
SIZES = "issues pulls commits runs stars deployments releases"
SMALL = [
    part
    for one in ["repos=1", "specials=false", *(f"{of}_per_repo=1" for of in SIZES.split())]
    for part in ("--option", one)
]
TOKEN = "sandbox-token"  # the stand-in's own


@pytest.fixture(scope="module")
def stand_in():
    with running_sandbox("github", SMALL) as sandbox:
        yield sandbox


@pytest.fixture
def ipai(database, tmp_path, monkeypatch):
    """`ipai` in this process; asserts the exit code."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setattr(runner_module, "run_dbt", lambda dsn, **asked: TransformResult(ok=True))

    def call(*arguments, code=0, stdin=None):
        done = CliRunner().invoke(main, [str(one) for one in arguments], input=stdin)
        assert code == done.exit_code, done.output
        assert TOKEN not in done.output
        return done

    return call


@pytest.fixture
def unattended(ipai, stand_in):
    """`ipai init` with options alone; what it answers a machine."""

    def call(*more, code=0, token=TOKEN):
        arguments = ("init", "github", "--id", "github-acme", "--set", f"api_url={stand_in.url}")
        given = ("--set", "organizations=octo-sandbox", "--yes", "--json")
        secret = ("--secret", "auth_token=-") if token else ()
        done = ipai(*arguments, *given, *secret, *more, code=code, stdin=token)
        return json.loads(done.stdout)

    return call


@pytest.fixture
def terminal(ipai, stand_in, monkeypatch):
    """`ipai init` with somebody who types."""
    monkeypatch.setattr(init_module, "on_terminal", lambda: True)

    def call(*lines, code=0, options=()):
        arguments = ("init", *options, "--set", f"api_url={stand_in.url}")
        return ipai(*arguments, code=code, stdin="\n".join([*lines, ""])).output

    return call


def instances(ipai):
    return json.loads(ipai("instance", "list", "--json").stdout)


# -- unattended ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_options_alone_lead_to_rows_and_a_second_time_changes_nothing(unattended, ipai):
    first = unattended()
    again = unattended(token=None)
    shown = json.loads(ipai("instance", "show", "github-acme", "--json").stdout)

    assert "succeeded" == first["run"]["status"]
    assert first["rows"]["bronze"]["ipai_bronze_devops.raw_github_repositories"] >= 1
    assert ["${secret:github-acme/auth_token}"] == first["secrets"]
    assert "default" == first["schedule"]
    assert 3 == len(first["next"])
    assert ("succeeded", []) == (again["run"]["status"], again["secrets"])
    assert "${secret:github-acme/auth_token}" == shown["config"]["auth_token"]
    assert shown["schedule"]


def test_refused_credentials_store_nothing_and_end_with_77(unattended, ipai):
    answer = unattended(code=77, token="wrong")

    assert (False, None) == (answer["stored"], answer["run"])
    assert "Renew the token" in answer["check"]["error_summary"]
    assert [] == instances(ipai)
    assert [] == json.loads(ipai("secret", "list", "--json").stdout)


@pytest.mark.slow
def test_new_credentials_replace_those_of_an_earlier_time(unattended, ipai):
    unattended("--no-run")
    unattended("--no-run", "--schedule", "@daily")
    (secret,) = json.loads(ipai("secret", "list", "--json").stdout)

    assert ("github-acme/auth_token", 2) == (secret["name"], secret["version"])
    assert ["@daily"] == [one["schedule"] for one in instances(ipai)]


def test_a_dry_run_stores_nothing(unattended, ipai):
    answer = unattended("--dry-run")

    assert (0, False) == (answer["check"]["exit_code"], answer["stored"])
    assert [] == instances(ipai)


def test_without_a_vault_the_setting_refers_to_a_variable(unattended, ipai, monkeypatch):
    def refuse(*_):
        message = "No key here."
        raise SecretError(message)

    monkeypatch.setattr(keeping, "_into_vault", refuse)
    monkeypatch.setenv("GITHUB_TOKEN", "of somebody else")
    answer = unattended()

    assert ["${GITHUB_TOKEN}"] == answer["secrets"]
    assert "succeeded" == answer["run"]["status"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 78, "Name a source: ipai init SOURCE. Installed:"),
        (["nowhere"], 78, "No connector is installed"),
        (["github", "--secret", "auth_token=verbatim"], 78, "is never an argument"),
        (["github", "--secret", "password=-"], 78, "has no secret 'password'"),
        (["github", "--secret", "auth_token=@nothing"], 78, "File 'nothing' cannot be read"),
        (["github", "--secret", "auth_token=-"], 78, "Secret 'auth_token' is empty"),
        (["github", "--set", "auth_token=verbatim"], 78, "which is never stored"),
        (["github", "--set", "auth_token=${secret:other}"], 78, "ipai instance add"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_next_step(ipai, arguments, code, words):
    said = ipai("init", *arguments, "--yes", code=code).output

    assert words in said.replace("\n", " ")
    assert "verbatim" not in said
    assert [] == instances(ipai)


# -- on the stand-in -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_stand_in_leads_through_all_of_it_again_and_again(ipai, monkeypatch):
    small = functools.partial(running_sandbox, arguments=SMALL)
    monkeypatch.setattr(init_module, "running_sandbox", small)
    first = json.loads(ipai("init", "github", "--sandbox", "--yes", "--json").stdout)
    said = ipai("init", "github", "--sandbox", "--yes").output

    assert ("github-sandbox", "sandbox") == (first["instance_id"], first["env"])
    assert f"{sum(first['rows']['bronze'].values()):,} rows in" in said
    assert "ipai init github" in said
    assert [("github-sandbox", "paused")] == [(one["id"], one["status"]) for one in instances(ipai)]


def test_the_stand_in_never_goes_on_top_of_a_real_instance(ipai, make_instance):
    make_instance("github-acme")
    said = ipai("init", "github", "--id", "github-acme", "--sandbox", "--yes", code=78).output

    assert "is a real one" in said


def test_an_instance_of_another_source_keeps_its_name(ipai, make_instance):
    make_instance("jira-acme", "jira")

    assert "--id" in ipai("init", "github", "--id", "jira-acme", "--yes", code=78).output


# -- on a terminal -------------------------------------------------------------------------------

READ = ("", "octo-sandbox", "", "")  # repositories, organizations, users, search


@pytest.mark.slow
def test_questions_lead_to_rows_and_refused_credentials_are_asked_for_again(terminal, ipai):
    wrong = ("5", "github", "No Name!", "github-acme", *READ, "9", "2", "wrong")
    said = terminal(*wrong, "y", "2", TOKEN, "y", "y")

    assert "Sources installed here:" in said
    assert "Give a number from 1 to" in said
    assert "is no name" in said
    assert "Settings, Developer settings, Personal access tokens" in said
    assert "Try again?" in said
    assert "Where the rows are" in said
    assert "ipai run github-acme" in said
    assert "wrong" not in said.split("Ways to sign in", 1)[1].split("Checking", 1)[0]
    assert [("github-acme", "succeeded")] == [(i["id"], i["last_status"]) for i in instances(ipai)]


def test_a_source_whose_keys_differ_by_place_is_first_offered_without_any(ipai, monkeypatch):
    monkeypatch.setattr(init_module, "on_terminal", lambda: True)
    right = '[{"name": "things", "path": "/nowhere/things.csv"}]'
    lines = ("files", "things", right, *([""] * 6))
    said = ipai("init", "files", code=130, stdin="\n".join(lines)).output

    assert "Which one? [6]" in said
    assert "Setting 'files' is not of type array: 'things'. Write it as JSON, e.g. [{" in said


def test_nobody_needs_to_try_again(terminal, ipai):
    said = terminal("github-acme", *READ, "2", "", "wrong", "n", code=77, options=("github",))

    assert "Nothing was given." in said
    assert "Nothing was stored." in said
    assert [] == instances(ipai)


@pytest.mark.slow
def test_a_variable_that_is_set_can_be_taken(terminal, ipai, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    said = terminal("github-acme", *READ, "", "y", "n", "n", options=("github",))

    assert "GITHUB_TOKEN is set here" in said
    assert [None] == [one["schedule"] for one in instances(ipai)]
    again = terminal("github-acme", "y", *READ[:1], *READ[2:], "y", "n", options=("github",))
    assert "is there already" in again


@pytest.mark.parametrize("answered", [0, 1, 3, 5, 6])
def test_ctrl_c_at_a_question_leaves_nothing(terminal, ipai, answered):
    lines = ("github-acme", *READ, "2", TOKEN)[:answered]

    terminal(*lines, code=130, options=("github",))
    assert [] == instances(ipai)


def test_ctrl_c_during_the_check_leaves_nothing(terminal, ipai, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)
        return init_module.SourceCheck((), None)

    monkeypatch.setattr(init_module, "check_source", interrupted)
    terminal("github-acme", *READ, "2", TOKEN, code=130, options=("github",))

    assert [] == instances(ipai)
