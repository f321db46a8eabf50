# SPDX-License-Identifier: Apache-2.0
"""`ipai odoo`: what Odoo needs to read Gold."""

import os
from pathlib import Path

import click

from ipai_orchestrate.cli.output import answer, console, json_option
from ipai_orchestrate.odoo.link import PASSWORD_VARIABLE, SSL_MODES, plan_link, write_scripts


@click.group("odoo", short_help="Let Odoo read Gold.")
def odoo_command() -> None:
    """Gold back into Odoo.

    \b
    Example:
      ipai odoo link --host warehouse.example.com --database ipai
    """


@odoo_command.command()
@click.option("--host", help="Where Odoo's server finds the warehouse. Default: as we do.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port. Default: as we do.")
@click.option("--database", help="Its name. Default: as we call it.")
@click.option(
    "--sslmode", type=click.Choice(SSL_MODES), help="Default: require; prefer on this machine."
)
@click.option("--reader", default="ipai_odoo_reader", show_default=True, help="Role that reads.")
@click.option("--odoo-role", default="odoo", show_default=True, help="Odoo's role in its database.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("odoo-link"),
    show_default=True,
    help="Folder for the scripts.",
)
@json_option
def link(
    host: str | None,
    port: int | None,
    database: str | None,
    sslmode: str | None,
    reader: str,
    odoo_role: str,
    output: Path,
    as_json: bool,
) -> None:
    """Write the SQL that lets Odoo's database read Gold through postgres_fdw.

    One script for the warehouse, one for Odoo's database. They hold no password: both take it
    from the environment when psql runs them.

    \b
    Example:
      ipai odoo link --host warehouse.example.com --database ipai
    """
    planned = plan_link(
        os.environ.get("IPAI_DATABASE_URL"),
        host=host,
        port=port,
        database=database,
        sslmode=sslmode,
        reader=reader,
        odoo_role=odoo_role,
    )
    warehouse, odoo = write_scripts(planned, output)
    record = {
        "warehouse_script": warehouse,
        "odoo_script": odoo,
        "password_variable": PASSWORD_VARIABLE,
    }
    answer(record, as_json, lambda: _show(warehouse, odoo))


def _show(warehouse: Path, odoo: Path) -> None:
    say = console().print
    say(f"Written: {warehouse} and {odoo}. Set {PASSWORD_VARIABLE} to a new password, then run")
    say(f'  psql --no-psqlrc -f {warehouse} "$IPAI_DATABASE_URL"', soft_wrap=True)
    say(
        f"  psql --no-psqlrc -f {odoo} <Odoo's database, as superuser>",
        soft_wrap=True,
        markup=False,
    )
