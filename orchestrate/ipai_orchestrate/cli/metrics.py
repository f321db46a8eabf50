# SPDX-License-Identifier: Apache-2.0
"""`ipai metrics`: the platform in figures, for Prometheus."""

import click

from ipai_orchestrate.cli.output import json_option, print_json
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.monitor import exposition, read_metrics


@click.command("metrics", short_help="Print metrics in the text format of Prometheus.")
@json_option
def metrics_command(as_json: bool) -> None:
    """Print runs, rows, queue, workers, quotas and dead letters as Prometheus reads them.

    \b
    Examples:
      ipai metrics
      ipai metrics --json

    Counters are sums over all runs in the database: no restart sets them back, and it does not
    matter on which machine this is called. No label names a run.
    """
    with opened_plane() as (_, plane):
        samples = read_metrics(plane.connection)
    if as_json:
        print_json(samples)
    else:
        click.echo(exposition(samples), nl=False)
