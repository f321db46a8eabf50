# SPDX-License-Identifier: Apache-2.0
"""`ipai metrics`: the platform in figures, for Prometheus."""

import os
import time

import click

from ipai_orchestrate.cli.output import json_option, print_json
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.monitor import exposition, read_metrics
from ipai_orchestrate.monitor.endpoint import EndpointOptions, Scrapes, metrics_endpoint
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipeline.stop import stop_on_signals


@click.group(
    "metrics",
    invoke_without_command=True,
    short_help="Print metrics in the text format of Prometheus, or serve them.",
)
@json_option
@click.pass_context
def metrics_command(context: click.Context, as_json: bool) -> None:
    """Print runs, rows, queue, workers, quotas and dead letters as Prometheus reads them.

    \b
    Examples:
      ipai metrics
      ipai metrics --json
      ipai metrics serve

    Counters are sums over all runs in the database: no restart sets them back, and it does not
    matter on which machine this is called. No label names a run.
    """
    if context.invoked_subcommand:
        return
    with opened_plane() as (_, plane):
        samples = read_metrics(plane.connection)
    if as_json:
        print_json(samples)
    else:
        click.echo(exposition(samples), nl=False)


@metrics_command.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9464,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
def serve_command(host: str, port: int) -> int:
    """Serve GET /metrics until told to end, for a Prometheus server to scrape.

    \b
    Examples:
      ipai metrics serve
      ipai metrics serve --host 0.0.0.0 --port 9464

    Other addresses than loopback need IPAI_METRICS_TOKEN in the environment: who asks must send
    it as a bearer token. Put TLS before it where the network is not yours. Ends with 78 if it
    cannot listen there, or the token is missing; scrapes answer 503 while the database is away.
    """
    options = EndpointOptions(host, port, os.environ.get("IPAI_METRICS_TOKEN", ""))
    with (
        opened_database() as database,
        stop_on_signals() as stop,
        metrics_endpoint(options, Scrapes(database)) as address,
    ):
        click.echo(f"Serving {address}", err=True)
        while not stop.signum:
            time.sleep(0.2)
    return 0
