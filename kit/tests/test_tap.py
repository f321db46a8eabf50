# SPDX-License-Identifier: Apache-2.0
"""A tap of the kit as its user meets it: singer-sdk's standard tests, command line, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from singer_sdk.testing.runners import TapTestRunner

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.settings import settings_from_environment, with_numbers
from ipai_kit.testing.loopback import Answer

TAP = '''
from ipai_kit.auth import BearerAuth
from ipai_kit.rest import LinkHeader, RestStream
from ipai_kit.settings import with_numbers
from ipai_kit.tap import ConnectorTap


class Repos(RestStream):
    name = "repos"
    path = "/repos"
    primary_keys = ("id",)
    paginator = LinkHeader()


class Issues(RestStream):
    name = "issues"
    path = "/repos/{repo}/issues"
    parent = Repos
    context_from_parent = {"repo": "id"}
    context_fields = {"_repo": "repo"}
    primary_keys = ("_repo", "id")
    replication_key = "updated_at"
    cursor_param = "since"
    paginator = LinkHeader()


class TapDemo(ConnectorTap):
    """A tap for tests."""

    stream_types = (Repos, Issues)
    state_interval = 0.0

    def authenticator(self):
        return BearerAuth(self.config.get("auth_token", "none"))


if __name__ == "__main__":
    TapDemo.cli()
'''


def source(asked):
    if asked.headers.get("authorization") == "Bearer wrong-secret":
        return Answer({"message": "Bad credentials"}, 401)
    if asked.headers.get("authorization") == "Bearer spent":
        return Answer({}, 403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "5000"})
    if asked.path == "/repos":
        return Answer([{"id": 1}, {"id": 2}])
    if asked.path.endswith("/runs"):
        return Answer({"workflow": {"runs": [{"id": 1, "updated_at": "2024-01-01T00:00:00Z"}]}})
    if asked.path.endswith("/issues"):
        return Answer([{"id": n, "updated_at": f"2024-01-0{n}T00:00:00Z"} for n in (1, 2)])
    return Answer([{"id": 1}])


@pytest.fixture
def site(loopback):
    return loopback(source)


@pytest.fixture
def package(demo, tmp_path):
    """A tap in a package of its own, as a connector ships it."""
    folder = tmp_path / "tap_demo"
    (folder / "schemas").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "tap.py").write_text(TAP)
    (folder / "connector.yaml").write_text(demo.spec)
    for name, made in {
        "repos": demo.schema("id"),
        "issues": demo.schema("id", "_repo", cursor="updated_at"),
    }.items():
        (folder / "schemas" / f"{name}.json").write_text(json.dumps(made))
    return tmp_path


@pytest.fixture
def command(package, site):
    """Run the tap's command line; gives back the finished process."""

    def run(*arguments, config=None, environment=None, **more):
        path = package / "config.json"
        if config is not None:
            path.write_text(json.dumps({"api_url": site.url, **config}))
            arguments = ("--config", str(path), *arguments)
        return subprocess.run(
            [sys.executable, "-m", "tap_demo.tap", *arguments],
            cwd=package,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            timeout=60,
            check=False,
            **more,
        )

    return run


def failure(done):
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]
    (found,) = [line for line in lines if line["event"] == "failed"]
    return found


# -- singer-sdk's standard suite ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Fields in transformed catalog but not in records")
def test_the_standard_tap_tests_pass(demo, site):
    config = {"api_url": site.url}
    suite = get_tap_test_class(demo.Tap, config=config)
    runner = TapTestRunner(demo.Tap, config=config, parse_env_config=False)
    runner.sync_all()
    passed = 0
    for name in (one for one in dir(suite) if one.startswith("test_")):
        for param in suite.params.get(name, [None]):
            values = param.values._asdict() if param else {}
            getattr(suite, name)(SuiteConfig(), None, runner, **values)
            passed += 1

    assert passed > 40


def test_a_dry_run_ends_at_its_limit_and_moves_no_bookmark(demo, site):
    runner = TapTestRunner(demo.Tap, config={"api_url": site.url}, parse_env_config=False)
    runner.suite_config = SuiteConfig(max_records_limit=1)
    runner.sync_all()

    assert {stream: len(found) for stream, found in runner.records.items()} == dict.fromkeys(
        ["repos", "issues", "labels", "comments", "runs"], 1
    )
    assert "partitions" not in json.dumps(runner.state_messages[-1]["value"]["bookmarks"]["issues"])


# -- the command --------------------------------------------------------------------------------


def test_discovery_needs_no_configuration(command):
    done = command("--discover")
    streams = json.loads(done.stdout)["streams"]

    assert done.returncode == 0
    assert [one["tap_stream_id"] for one in streams] == ["issues", "repos"]


def test_about_lists_the_settings_of_spec_and_kit(command):
    about = json.loads(command("--about", "--format=json").stdout)
    settings = about["settings"]["properties"]

    assert about["name"] == "tap-demo"
    assert {"auth_token", "repositories", "start_date", "api_url", "concurrency"} <= set(settings)
    assert settings["auth_token"]["secret"] is True
    assert "batch" in about["capabilities"]


def test_a_run_from_state_with_a_catalog(command, package):
    catalog = package / "catalog.json"
    catalog.write_bytes(command("--discover").stdout)
    first = command("--catalog", str(catalog), config={})
    states = [line for line in first.stdout.splitlines() if b'"STATE"' in line]
    state = package / "state.json"
    state.write_text(json.dumps(json.loads(states[-1])["value"]))
    second = command("--catalog", str(catalog), "--state", str(state), config={})

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.count(b'"stream":"issues","record"') == 4
    assert second.stdout.count(b'"stream":"issues","record"') == 2  # the boundary is recognised


def test_test_reads_one_record_of_each_stream(command):
    done = command("--test", config={})

    assert done.returncode == 0
    assert done.stdout.count(b'"type":"RECORD"') == 2


def test_settings_come_from_the_environment_too(command, site):
    done = command(environment={"TAP_DEMO_API_URL": site.url, "DEMO_TOKEN": "wrong-secret"})

    assert done.returncode == 77
    assert failure(done)["url"] == site.url + "/repos"


@pytest.mark.parametrize(
    ("config", "code", "kind"),
    [
        ({"auth_token": "wrong-secret"}, 77, "CredentialsError"),
        ({"auth_token": "spent"}, 75, "TryAgainLaterError"),
        ({"concurrency": 0}, 78, "ConfigurationError"),
        ({"api_url": "http://example.com"}, 78, "ConfigurationError"),
    ],
)
def test_each_kind_of_failure_has_its_code_and_one_line(command, config, code, kind):
    done = command(config=config)
    line = failure(done)

    assert code == done.returncode
    assert kind == line["error_class"]
    assert line["next_step"]
    assert b"wrong-secret" not in done.stderr
    assert b"Traceback" not in done.stderr
    if code == 75:
        assert line["retry_at"] > "2026"
        assert (line["stream"], line["status"]) == ("repos", 403)


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_a_configuration_that_cannot_be_read_is_named(command, package, text):
    path = package / "broken.json"
    if text is not None:
        path.write_text(text)
    done = command("--config", str(path))

    assert done.returncode == 78
    assert "broken.json" in failure(done)["message"]


def test_a_bug_of_ours_is_told_as_one(command, package):
    tap = package / "tap_demo" / "tap.py"
    tap.write_text(
        tap.read_text().replace('"Bearer', "x").replace("BearerAuth(self", "Nobody(self")
    )
    done = command(config={})

    assert done.returncode == 70
    assert "Nobody" in failure(done)["message"]


def test_a_closed_pipe_ends_the_run_without_noise(package, site):
    path = package / "config.json"
    path.write_text(json.dumps({"api_url": site.url}))
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "tap_demo.tap", "--config", str(path)],
        cwd=package,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)

    assert done.returncode == 1
    assert failure(done)["error_class"] == "TargetClosedError"
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_with_what_was_finished(package, loopback, number, code):
    def slow(asked):
        return Answer([{"id": 1}], delay=30) if "/repos/2" in asked.path else source(asked)

    site = loopback(slow)
    path = package / "config.json"
    path.write_text(json.dumps({"api_url": site.url}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tap_demo.tap", "--config", str(path)],
        cwd=package,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while len(site.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)

    assert process.returncode == code
    assert b"Traceback" not in errors
    messages = [json.loads(line) for line in output.splitlines()]
    assert messages[-1]["type"] == "STATE"
    partitions = messages[-1]["value"]["bookmarks"]["issues"]["partitions"]
    assert [one["context"] for one in partitions] == [{"repo": 1}]


# -- settings -----------------------------------------------------------------------------------

SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "yes": {"type": ["boolean", "null"]},
        "many": {"type": "array"},
        "count": {"type": "integer"},
        "thing": {"type": "object"},
    }
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "12", "12"),
        ("yes", "True", True),
        ("yes", "0", False),
        ("many", "a, b", ["a", "b"]),
        ("many", '["a,b"]', ["a,b"]),
        ("count", "12", 12),
        ("thing", '{"a": 1}', {"a": 1}),
    ],
)
def test_the_environment_gives_typed_settings(monkeypatch, name, text, value):
    monkeypatch.setenv(f"TAP_X_{name.upper()}", text)

    assert settings_from_environment(SCHEMA, "TAP_X_") == {name: value}


def test_a_setting_that_is_no_json_is_named_without_its_value(monkeypatch):
    monkeypatch.setenv("TAP_X_COUNT", "s3cret")

    with pytest.raises(ConfigurationError, match="TAP_X_COUNT") as caught:
        settings_from_environment(SCHEMA, "TAP_X_")
    assert "s3cret" not in str(caught.value)


def test_numbers_may_come_as_text_because_meltano_writes_them_so():
    schema = {
        "properties": {"rate": {"type": ["number", "null"]}, "name": {"type": "string"}, "n": {}}
    }

    assert {"rate": 0.5, "name": "1", "n": "2"} == with_numbers(
        schema, {"rate": "0.5", "name": "1", "n": "2"}
    )
    assert {"rate": "fast"} == with_numbers(schema, {"rate": "fast"})
