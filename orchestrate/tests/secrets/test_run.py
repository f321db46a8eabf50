# SPDX-License-Identifier: Apache-2.0
"""A run, a check and a dry run of an instance that refers to secrets, through the command line."""

from __future__ import annotations

import functools
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.cli import run as run_module
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.pipeline.runner import RunOptions
from ipai_orchestrate.secrets.key_ring import FILE_NAME

SPEC = """
spec_version: 1
name: ipai_connector_talkative
source_type: talkative
title: Talkative
domain: core
api: {version: "1", docs_url: https://docs.example.com, sunset: null,
      base_urls: [https://api.example.com]}
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth: {methods: [{type: bearer, settings: [auth_token]}]}
sync_mode: incremental
schedule: "17 * * * *"
settings:
  auth_token: {type: string, secret: true, description: The token.}
  region: {type: string, description: Not declared as a secret.}
streams:
  - {name: items, cursor: id, description: One item.}
"""

# Says its settings aloud, and where it could have found them.
TAP = """
import argparse, json, os, sys
parser = argparse.ArgumentParser()
for name in ("config", "state", "catalog"):
    parser.add_argument("--" + name)
for name in ("discover", "test"):
    parser.add_argument("--" + name, action="store_true")
given = parser.parse_args()
config = json.load(open(given.config))
schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
if given.discover:
    print(json.dumps({"streams": [{"stream": "items", "schema": schema}]}))
    sys.exit(0)
print(f"WARNING signing in with {config['auth_token']} at {config['region']}", file=sys.stderr)
if os.environ.get("IPAI_VAULT_KEYS") or config["auth_token"] in str(sys.argv) + str(os.environ):
    sys.exit(70)
print(json.dumps({"type": "SCHEMA", "stream": "items", "schema": schema, "key_properties": ["id"]}))
print(json.dumps({"type": "RECORD", "stream": "items", "record": {"id": 1}}))
state = {"bookmarks": {"items": {"replication_key_value": 1}}}
print(json.dumps({"type": "STATE", "value": state}))
"""

TARGET = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "STATE":
        print(json.dumps(message["value"]), flush=True)
"""

TOKEN = "canary-t0ken-\u00fc/+"
KEY = '{"private_key": "canary-k3y"}'


@pytest.fixture
def ipai(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`ipai` in this process with the talkative connector; asserts the exit code."""
    package = tmp_path / "site" / "tap_talkative"
    metadata = tmp_path / "site" / "talkative-0.1.dist-info"
    for folder in (package, metadata, tmp_path / "bin"):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "connector.yaml").write_text(SPEC)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: talkative\nVersion: 0.1\n")
    points = "[ipai.connectors]\ntalkative = tap_talkative.tap:Tap\n"
    (metadata / "entry_points.txt").write_text(points)
    for name, text in (("tap-talkative", TAP), ("target-talkative", TARGET)):
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IPAI_VAULT_KEYS", raising=False)
    options = functools.partial(RunOptions, target="target-talkative", transform="nothing")
    monkeypatch.setattr(run_module, "RunOptions", lambda root, **_: options(root))

    def call(*arguments: str, code: int = 0, stdin: str | None = None) -> str:
        done = CliRunner().invoke(main, arguments, input=stdin)
        assert code == done.exit_code, done.output
        return done.output

    return call


@pytest.fixture
def instance(ipai: Callable[..., str]) -> str:
    ipai("secret", "set", "one/token", stdin=TOKEN + "\n")
    ipai("secret", "set", "one/key", stdin=KEY)
    ipai(
        *("instance", "add", "one", "--source", "talkative"),
        *("--set", "auth_token=${secret:one/token}", "--set", "region=${secret:one/key}"),
    )
    return "one"


def test_a_run_gets_its_secrets_and_its_log_does_not(
    ipai: Callable[..., str], instance: str, control_plane: ControlPlane
) -> None:
    said = ipai("run", instance, "-v")
    (run,) = control_plane.runs()
    lines = [line.message for line in control_plane.logs(run.id)]

    assert run.status == "succeeded"
    assert lines[0].startswith("WARNING signing in with *** at ")
    for secret in (TOKEN, "canary-k3y"):
        assert secret not in said + "".join(lines)
    listed = json.loads(ipai("audit", "list", "--json"))
    assert [(row["action"], row["run_id"]) for row in listed[2:]] == [
        ("grant", str(run.id)),
        ("grant", str(run.id)),
        ("read", str(run.id)),
        ("read", str(run.id)),
    ]


def test_a_check_a_dry_run_and_a_listing_get_them_too(
    ipai: Callable[..., str], instance: str
) -> None:
    said = [
        ipai("check", instance),
        ipai("run", instance, "--dry-run"),
        ipai("discover", instance),
        ipai("audit", "list"),
        ipai("instance", "show", instance),
        ipai("secret", "list"),
    ]

    assert "accepts the credentials" in said[0]
    assert not [text for text in said if TOKEN in text or "canary-k3y" in text]
    assert "${secret:one/token}" in said[4]


def test_a_run_without_its_secret_fails_as_configuration_and_says_what_to_do(
    ipai: Callable[..., str], instance: str, control_plane: ControlPlane
) -> None:
    ipai("secret", "delete", "one/key", code=78)
    ipai("secret", "delete", "one/key", "--force")
    ipai("run", instance, code=78)
    (run,) = control_plane.runs()

    assert run.error_class == "configuration"
    assert "ipai secret set one/key" in str(run.error_summary)
    assert "deny" in ipai("audit", "list", "--secret", "one/key")


def test_without_the_key_file_a_run_fails_as_configuration(
    ipai: Callable[..., str], instance: str, tmp_path: Path, control_plane: ControlPlane
) -> None:
    (tmp_path / "home" / FILE_NAME).unlink()
    ipai("run", instance, code=78)

    assert "There is no key file" in str(control_plane.runs()[0].error_summary)


def test_the_commands_about_secrets_answer(
    ipai: Callable[..., str], instance: str, tmp_path: Path
) -> None:
    file = tmp_path / "home" / FILE_NAME
    assert "exists" in ipai("secret", "set", "one/token", code=78, stdin="x")
    assert "The value is empty" in ipai("secret", "set", "two", code=78, stdin="\n")
    assert "is no time" in ipai("secret", "set", "two", "--expires-at", "soon", code=78, stdin="x")
    both = ("--overlap", "1h", "--revoke")
    assert "give one of them" in ipai("secret", "rotate", "one/token", *both, code=78, stdin="x")
    rotated = ipai("secret", "rotate", "one/token", "--overlap", "1h", stdin="new")
    assert "Version 2 of one/token" in rotated
    ipai("secret", "rotate", "one/token", "--expires-at", "2027-01-31", "--json", stdin="newer")
    assert "2027-01-31 00:00" in ipai("secret", "list")
    assert "Sealed 0 secrets anew" in ipai("secret", "rekey")
    assert str(file) in ipai("secret", "keys", "--add")
    assert "Sealed 2 secrets anew" in ipai("secret", "rekey")
    ipai("secret", "rekey", "--new")
    assert "Forgot 2 keys" in ipai("secret", "rekey", "--forget-old")
    (used,) = json.loads(ipai("secret", "keys", "--json"))["keys"]
    assert (used["sealed_by"], used["secrets"], used["in_file"]) == ("client", 2, True)
    assert [f"{used['key_id']}"] == [
        line.split()[0] for line in file.read_text().splitlines() if line[0] != "#"
    ]


def test_a_revoked_secret_names_the_runs_it_has_cancelled(
    ipai: Callable[..., str], instance: str, control_plane: ControlPlane, connection: Any
) -> None:
    run = control_plane.claim(control_plane.enqueue(instance), "worker")
    assert run is not None
    connection.execute(
        "select connectors.request_secret(%s, %s, 'one/token')", (run.id, run.lease_token)
    )

    assert f"Cancelled run {run.id}" in ipai("secret", "rotate", "one/token", "--revoke", stdin="x")


def test_the_log_is_verified_by_command(
    ipai: Callable[..., str], instance: str, connection: Any
) -> None:
    said = ipai("audit", "verify")
    mark = said.split()[-1]
    assert "Intact: 2 rows" in said
    ipai("secret", "rotate", "one/key", stdin="new")
    assert json.loads(ipai("audit", "verify", "--mark", mark, "--json"))["intact"]
    assert "is no mark" in ipai("audit", "verify", "--mark", "x", code=78)
    connection.execute(
        "alter table connectors.secret_audit disable trigger all;"
        "update connectors.secret_audit set actor = 'innocent' where seq = 2"
    )

    assert "Broken: Row 2 is not as it was written" in ipai("audit", "verify", code=1)
