# SPDX-License-Identifier: Apache-2.0
"""`ipai sandbox`: stand-ins of the sources' APIs, for trying and testing without an account."""

import json
import time

import click

from ipai_orchestrate.cli.output import error_console
from ipai_orchestrate.pipeline.stop import stop_on_signals
from ipai_orchestrate.sandbox import running_sandbox

TICK_SECONDS = 0.2


@click.group("sandbox", short_help="Serve stand-ins of the sources' APIs.")
def sandbox_command() -> None:
    """Serve a stand-in of a source's API on loopback.

    \b
    Example:
      ipai sandbox up github --latency-ms 100
    """


@sandbox_command.command()
@click.argument("source")
@click.option("--port", default=0, help="0 takes a free one.")
@click.option("--latency-ms", default=0.0, help="Added to every reply.")
@click.option(
    "--option", multiple=True, metavar="KEY=VALUE", help="Size and behaviour of its data."
)
@click.option(
    "--fault", multiple=True, metavar="SPEC", help="E.g. status:502*3@GET /repos/*/issues"
)
def up(
    source: str, port: int, latency_ms: float, option: tuple[str, ...], fault: tuple[str, ...]
) -> None:
    """Serve until Ctrl-C; one line of JSON on standard output says where.

    \b
    Examples:
      ipai sandbox up github
      ipai sandbox up github --option repos=50 --latency-ms 100 --fault 'status:502*3'
    """
    arguments = ["--port", str(port), "--latency-ms", str(latency_ms)]
    arguments += [part for one in option for part in ("--option", one)]
    arguments += [part for one in fault for part in ("--fault", one)]
    with stop_on_signals() as stop, running_sandbox(source, arguments) as sandbox:
        ready = {"source": sandbox.source, "url": sandbox.url, "config": sandbox.config()}
        click.echo(json.dumps(ready))
        out = error_console()
        out.print(f"\nThe stand-in of {source} serves at {sandbox.url} until Ctrl-C.")
        out.print("Give the settings above to a tap or to `ipai instance add`, and look at")
        out.print(f"  {sandbox.url}/_sandbox/stats      what has been asked")
        out.print(f"  {sandbox.url}/_sandbox/streams    what is true")
        out.print(f"  curl -X POST {sandbox.url}/_sandbox/advance   let its world go on")
        while not stop.signum:
            time.sleep(TICK_SECONDS)
