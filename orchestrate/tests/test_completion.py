# SPDX-License-Identifier: Apache-2.0
"""Shells complete commands, options, sources and instances, and start nothing for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.cli import main


@pytest.fixture
def completed(database, tmp_path, monkeypatch):
    """What a shell would offer after some words."""
    monkeypatch.setenv("IPAI_DATABASE_URL", database)
    monkeypatch.setenv("IPAI_HOME", str(tmp_path / "home"))

    def complete(*words):
        *before, last = words
        found = ShellComplete(main, {}, "ipai", "_IPAI_COMPLETE").get_completions(before, last)
        return [one.value for one in found]

    return complete


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_that_its_shell_can_read(shell):
    done = CliRunner().invoke(main, ["completion", shell])

    assert 0 == done.exit_code
    assert f"_IPAI_COMPLETE={shell}_complete" in done.stdout
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.stdout, text=True, check=True)


def test_other_shells_are_refused():
    assert 2 == CliRunner().invoke(main, ["completion", "tcsh"]).exit_code


def test_commands_and_options_are_completed(completed):
    assert ["runs", "run"] == sorted(completed("run"), reverse=True)
    assert ["--full-refresh"] == completed("run", "--fu")
    assert ["state", "get"] == [*completed("stat")[:1], *completed("state", "ge")]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "gi"),
        ("check", ""),
        ("instance", "set", "github-"),
        ("state", "get", ""),
    ],
)
def test_instances_are_completed_from_the_database(completed, make_instance, words):
    make_instance("github-acme")

    assert ["github-acme"] == completed(*words)
    assert [] == completed(*words[:-1], "zzz")


@pytest.mark.parametrize("words", [("sandbox", "up", ""), ("instance", "add", "x", "--source", "")])
def test_sources_are_completed_from_what_is_installed(completed, words):
    assert sorted(discover_connectors()) == completed(*words)


@pytest.mark.parametrize("address", ["postgresql://nobody@127.0.0.1:1/nothing", None])
def test_without_a_database_nothing_is_offered_and_nothing_is_started(
    completed, monkeypatch, tmp_path, address
):
    monkeypatch.delenv("IPAI_DATABASE_URL")
    if address:
        monkeypatch.setenv("IPAI_DATABASE_URL", address)

    assert [] == completed("run", "")
    assert not (tmp_path / "home").exists()


def test_a_running_embedded_server_is_asked(completed, monkeypatch, server):
    monkeypatch.delenv("IPAI_DATABASE_URL")
    monkeypatch.setenv("IPAI_HOME", str(server.home))

    assert [] == completed("run", "")  # it answers: its own database has no control plane


def test_the_command_answers_a_shell(database, make_instance):
    make_instance("github-acme")
    asked = {"_IPAI_COMPLETE": "bash_complete", "COMP_WORDS": "ipai run git", "COMP_CWORD": "2"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ipai"))],
        env=os.environ | asked | {"IPAI_DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "plain,github-acme" == done.stdout.strip()
