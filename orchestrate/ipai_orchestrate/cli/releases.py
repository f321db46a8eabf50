# SPDX-License-Identifier: Apache-2.0
"""`ipai promote`, `ipai rollback`, `ipai releases`: which version of a spec runs where."""

import click

from ipai_orchestrate.cli.output import ago, answer, console, json_option, limit_option, print_table
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.releases import ReleaseRegister
from ipai_orchestrate.releases.records import Promotion, Rollback


@click.command("promote", short_help="Take a spec version to the next environment.")
@click.argument("instance_id", metavar="INSTANCE")
@click.option(
    "--to",
    "to_env",
    default="production",
    show_default=True,
    metavar="ENV",
    help="The environment to take it to.",
)
@click.option(
    "--as",
    "target_id",
    metavar="ID",
    help="The instance there; by default INSTANCE with the environment as its ending.",
)
@json_option
def promote_command(instance_id: str, to_env: str, target_id: str | None, as_json: bool) -> None:
    """Take the spec version of an instance to its counterpart in another environment.

    \b
    Examples:
      ipai promote github-acme-dev --to staging
      ipai promote github-acme-staging --to production
      ipai promote github-acme-staging --to production --as github-acme

    The counterpart keeps its own settings; where there is none, it is created with those of
    INSTANCE. An INSTANCE that is in that environment already moves to the newest version of its
    spec. Production is refused unless a run in staging has succeeded with the very same spec in
    the last 30 days.
    """
    with opened_database() as database, database.connect() as connection:
        done = ReleaseRegister(connection).promote(instance_id, to_env, target_id)
    answer(done, as_json, lambda: console().print(_promoted(done)))


@click.command("rollback", short_help="Go back to an earlier spec version and its state.")
@click.argument("instance_id", metavar="INSTANCE")
@click.option(
    "--to",
    "to_version",
    type=click.IntRange(1),
    metavar="VERSION",
    help="Version of the spec, as in `ipai releases`; by default the one before.",
)
@click.option(
    "--release",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Number of a release, as in `ipai releases`, also of one with other settings alone.",
)
@click.option("--keep-state", is_flag=True, help="Go on where the newest version has come to.")
@json_option
def rollback_command(
    instance_id: str, to_version: int | None, release: int | None, keep_state: bool, as_json: bool
) -> None:
    """Go back to an earlier version of the spec, with the settings and the state of that time.

    \b
    Examples:
      ipai rollback github-acme
      ipai rollback github-acme --to 2
      ipai rollback github-acme --to 2 --keep-state
      ipai rollback github-acme --release 4

    What was read since is read again and lands as updates. Refused while a run is active. A
    rollback is a release of its own and can be taken back the same way. Put the files that
    `ipai apply` reads back too, or the next apply moves on again.
    """
    with opened_database() as database, database.connect() as connection:
        done = ReleaseRegister(connection).rollback(
            instance_id, to_version, to_release=release, keep_state=keep_state
        )
    answer(done, as_json, lambda: console().print(_rolled_back(instance_id, done)))


@click.command("releases")
@click.argument("instance_id", metavar="INSTANCE")
@limit_option(20)
@json_option
def releases_command(instance_id: str, limit: int, as_json: bool) -> None:
    """List what an instance ran with, newest first.

    \b
    Example:
      ipai releases github-acme
    """
    with opened_database() as database, database.connect() as connection:
        found = ReleaseRegister(connection).releases(instance_id, limit)
    rows = [
        (
            one.release,
            one.definition_version,
            one.reason.replace("_", " "),
            one.actor,
            ago(one.released_at),
            one.state_version,
            str(one.proof_run_id or "")[:8],
        )
        for one in found
    ]
    columns = ("Release", "Version", "", "By", "When", "State before", "Proven by run")
    empty = f"Instance {instance_id!r} has no releases. See `ipai instance list`."
    answer(found, as_json, lambda: print_table(columns, rows, empty))


def _promoted(done: Promotion) -> str:
    if done.created:
        text = f"Created {done.id} in {done.env} with version {done.version}."
    elif done.previous_version == done.version:
        text = f"{done.id} in {done.env} has version {done.version} already."
    else:
        text = f"{done.id} in {done.env}: version {done.previous_version} -> {done.version}."
    return f"{text} Proven by run {done.proof_run_id}." if done.proof_run_id else text


def _rolled_back(instance_id: str, done: Rollback) -> str:
    state = (
        f"the state is that of then, as version {done.state_version}"
        if done.state_version
        else "the state stayed as it was"
    )
    return (
        f"{instance_id}: version {done.previous_version} -> {done.version} with the settings of "
        f"release {done.restored_release}; {state}."
    )
