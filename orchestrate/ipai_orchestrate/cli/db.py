# SPDX-License-Identifier: Apache-2.0
"""`ipai db`: the embedded Postgres, and the schema of any."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from ipai_orchestrate import embedded
from ipai_orchestrate.cli.output import (
    answer,
    console,
    json_option,
    print_json,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.control_plane.reference import render_reference
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.migrations import migrate as apply_migrations
from ipai_orchestrate.psql import run_psql


@click.group("db")
def db_command() -> None:
    """Start, stop and open the database.

    \b
    Examples:
      ipai db start        keep the embedded server running after each command
      ipai db psql         look around with psql
      ipai db migrate      bring the database of IPAI_DATABASE_URL up to date
    """


@db_command.command()
@json_option
def start(as_json: bool) -> None:
    """Start the embedded server and keep it running.

    Other commands start it when they need it and stop it when they end; this one keeps it.

    \b
    Example:
      ipai db start && eval "$(ipai env)"
    """
    _only_embedded("started")
    address = embedded.start()
    told = f"Running at {address}\nOpen it: ipai db psql. Stop it: ipai db stop"
    say_done(as_json, told, running=True, url=address)


@db_command.command()
@click.option("--force", is_flag=True, help="Even while other processes use it.")
@json_option
def stop(force: bool, as_json: bool) -> None:
    """Stop the embedded server; the data stays.

    \b
    Example:
      ipai db stop
    """
    _only_embedded("stopped")
    embedded.stop(force=force)
    say_done(as_json, "Stopped.", running=False)


@db_command.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the embedded server runs, who keeps it, and where it is.

    \b
    Example:
      ipai db status
    """
    found = embedded.status()
    rows = [(name.replace("_", " "), value) for name, value in asdict(found).items()]
    answer(found, as_json, lambda: print_table(("Embedded server", ""), rows, ""))
    if os.environ.get("IPAI_DATABASE_URL") and not as_json:
        console().print("\nIPAI_DATABASE_URL is set: commands use that database, not this server.")


@db_command.command()
@json_option
def url(as_json: bool) -> None:
    """Print the address of the database, for psycopg, SQLAlchemy, psql and others.

    \b
    Example:
      psql "$(ipai db url)"
    """
    address = os.environ.get("IPAI_DATABASE_URL") or embedded.url()
    answer({"url": address}, as_json, lambda: click.echo(address))


@db_command.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> int:
    """Open the database with psql; further arguments go to psql.

    \b
    Examples:
      ipai db psql
      ipai db psql -c 'select * from ipai_gold_devops.gold_devops_ci_health limit 5'
    """
    with embedded.open_database() as dsn:
        return run_psql(dsn, arguments)


@db_command.command()
@json_option
def migrate(as_json: bool) -> None:
    """Apply the migrations that the database does not have yet.

    The embedded server does this by itself; other databases change only when told to.

    \b
    Example:
      IPAI_DATABASE_URL=postgresql://… ipai db migrate
    """
    with embedded.open_database(migrated=False) as dsn:
        report = apply_migrations(dsn)
    if as_json:
        print_json(report)
        return
    print_table(("Applied",), [(name,) for name in report.applied], "Up to date.")
    for name in report.changed:
        console().print(f"[yellow]Changed since it was applied[/]: {name}")


@db_command.command()
@click.option(
    "--check",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Print nothing; end with 1 unless this file says the same.",
)
def reference(file: Path | None) -> int:
    """Print the reference of the control plane, from the comments in the database.

    \b
    Examples:
      ipai db reference
      ipai db reference --check docs/reference/control-plane.md
    """
    with opened_plane() as (_, plane):
        text = render_reference(plane.connection)
    if file is None:
        click.echo(text, nl=False)
        return 0
    if file.read_text(encoding="utf-8") == text:
        return 0
    click.echo(f"{str(file)!r} is out of date. Write it anew: ipai db reference > {file}", err=True)
    return 1


def _only_embedded(what: str) -> None:
    if os.environ.get("IPAI_DATABASE_URL"):
        message = (
            f"IPAI_DATABASE_URL names another server, which cannot be {what} from here. "
            "Unset it to use the embedded one."
        )
        raise ConfigurationError(message)
