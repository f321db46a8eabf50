# SPDX-License-Identifier: Apache-2.0
"""`ipai env`: what other programs need to find the same database."""

import os
import shlex

import click

from ipai_orchestrate import embedded
from ipai_orchestrate.cli.output import answer, json_option
from ipai_orchestrate.embedded.home import home_of


@click.command("env", short_help="Print the settings for shells and Meltano.")
@json_option
def env_command(as_json: bool) -> None:
    """Print the settings of this installation for a shell, Meltano or a notebook.

    \b
    Example:
      ipai db start && eval "$(ipai env)"
      meltano run tap-github target-bronze-postgres dbt:build
    """
    database = os.environ.get("IPAI_DATABASE_URL") or embedded.url()
    values = {
        "IPAI_HOME": str(home_of().root),
        "IPAI_DATABASE_URL": database,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    answer(values, as_json, lambda: click.echo("\n".join(lines)))
