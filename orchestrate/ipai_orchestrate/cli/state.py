# SPDX-License-Identifier: Apache-2.0
"""`ipai state`: where each instance resumes, and where it resumed before."""

import json
from typing import IO

import click

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    json_option,
    limit_option,
    print_json,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.exceptions import ConfigurationError


@click.group("state")
def state_command() -> None:
    """Look at bookmarks, set them, go back to earlier ones.

    \b
    Examples:
      ipai state get github-acme
      ipai state history github-acme
      ipai state rollback github-acme --version 3
    """


@state_command.command()
@click.argument("instance_id", metavar="INSTANCE")
@json_option
def get(instance_id: str, as_json: bool) -> None:
    """Print the stored state as JSON; {} when there is none.

    \b
    Example:
      ipai state get github-acme > state.json
    """
    del as_json  # it does in any case
    with opened_plane() as (_, plane):
        stored = plane.state_get(instance_id)
    print_json(stored.state_json if stored else {})


@state_command.command("set")
@click.argument("instance_id", metavar="INSTANCE")
@click.argument("file", type=click.File(encoding="utf-8"))
@json_option
def set_(instance_id: str, file: IO[str], as_json: bool) -> None:
    """Replace the state by the JSON in FILE, or of standard input with -.

    \b
    Examples:
      ipai state set github-acme state.json
      echo '{}' | ipai state set github-acme -     read everything again next time
    """
    try:
        state = json.load(file)
    except ValueError as error:
        message = f"The state is not JSON: {error}. It looks like the output of `ipai state get`."
        raise ConfigurationError(message) from error
    if not isinstance(state, dict):
        message = (
            f"The state is {state!r:.80} and no JSON object. It looks like the output of "
            '`ipai state get`, e.g. {"bookmarks": {"issues": {...}}}.'
        )
        raise ConfigurationError(message)
    with opened_plane() as (_, plane):
        version = plane.state_set(instance_id, state)
    told = f"Stored as version {version}; the one before stays in the history."
    say_done(as_json, told, instance_id=instance_id, version=version)


@state_command.command()
@click.argument("instance_id", metavar="INSTANCE")
@limit_option(20)
@json_option
def history(instance_id: str, limit: int, as_json: bool) -> None:
    """List past states, newest first.

    \b
    Example:
      ipai state history github-acme
    """
    with opened_plane() as (_, plane):
        found = plane.state_history(instance_id, limit)
    rows = [
        (
            one.version,
            one.reason,
            str(one.run_id or "")[:8],
            ago(one.saved_at),
            _size(one.state_json),
        )
        for one in found
    ]
    columns = ("Version", "By", "Run", "Stored", "Streams")
    answer(found, as_json, lambda: print_table(columns, rows, "No state yet."))


@state_command.command()
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--version", type=int, required=True, help="One of `ipai state history`.")
@json_option
def rollback(instance_id: str, version: int, as_json: bool) -> None:
    """Go back to an earlier state: the next run reads again what came after it.

    \b
    Example:
      ipai state rollback github-acme --version 3
    """
    with opened_plane() as (_, plane):
        now = plane.state_rollback(instance_id, version)
    told = f"Version {version} is the state again, as version {now}."
    say_done(as_json, told, instance_id=instance_id, version=now, restored_version=version)


def _size(state: dict[str, object]) -> int:
    bookmarks = state.get("bookmarks")
    return len(bookmarks) if isinstance(bookmarks, dict) else 0
