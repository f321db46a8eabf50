# SPDX-License-Identifier: Apache-2.0
"""`ipai lake`: care for the lake between runs, by the lake target's own command."""

import os
import subprocess

import click

from ipai_orchestrate.catalog import executable

TARGET = "target-bronze-lake"

_config = click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Settings of the target as JSON; repeatable. Default: IPAI_LAKE_URL and AWS_*.",
)
_table = click.option("--table", metavar="PATH", help="Only this, e.g. ipai_bronze_core/raw_x.")


@click.group("lake", short_help="Check, compact and vacuum the lake.")
def lake_command() -> None:
    """Care for the lake that target-bronze-lake fills; runs may go on meanwhile.

    Each prints a line of JSON per table.

    \b
    Example:
      ipai lake check --config target.json
    """


@lake_command.command()
@_config
@_table
def check(configs: tuple[str, ...], table: str | None) -> int:
    """Say whether the store can be trusted with commits, and what is in it.

    \b
    Example:
      ipai lake check --config target.json
    """
    return _perform("check", configs, table)


@lake_command.command()
@_config
@_table
def optimize(configs: tuple[str, ...], table: str | None) -> int:
    """Join small files of each day into large ones.

    \b
    Example:
      ipai lake optimize --config target.json
    """
    return _perform("optimize", configs, table)


@lake_command.command()
@_config
@_table
def vacuum(configs: tuple[str, ...], table: str | None) -> int:
    """Remove files that were replaced, or left behind by a killed run, before the retention.

    \b
    Example:
      ipai lake vacuum --config target.json
    """
    return _perform("vacuum", configs, table)


def _perform(verb: str, configs: tuple[str, ...], table: str | None) -> int:
    """Run the target's command; its exit code is ours."""
    options = [part for path in configs for part in ("--config", path)]
    options += ["--table", table] if table else []
    command = [executable(TARGET), verb, *options]
    return subprocess.run(command, check=False, env=dict(os.environ)).returncode
