# SPDX-License-Identifier: Apache-2.0
"""The tree of commands; each is loaded when it is asked for, so that `ipai --help` is quick."""

import importlib

import click

from ipai_orchestrate.cli.failure import Door

_WHERE = {
    "alerts": "alerts",
    "apply": "apply",
    "audit": "audit",
    "cancel": "runs",
    "cdc": "cdc",
    "check": "source",
    "completion": "completion",
    "connectors": "source",
    "db": "db",
    "demo": "demo",
    "discover": "source",
    "env": "env",
    "init": "init",
    "instance": "instance",
    "lake": "lake",
    "logs": "runs",
    "metrics": "metrics",
    "new": "new",
    "notifier": "notifier",
    "odoo": "odoo",
    "promote": "releases",
    "releases": "releases",
    "queue": "queue",
    "quota": "queue",
    "rollback": "releases",
    "pipeline": "pipeline",
    "run": "run",
    "runs": "runs",
    "sandbox": "sandbox",
    "schedule": "schedule",
    "scheduler": "scheduler",
    "secret": "secret",
    "silver": "silver",
    "spec": "spec",
    "state": "state",
    "status": "status",
    "up": "up",
    "usage": "usage",
    "webhook": "webhook",
    "worker": "worker",
    "workers": "workers",
}
# The names of things in the plural, as the lists of other tools are called.
_ALIASES = {
    "instances": "instance",
    "pipelines": "pipeline",
    "schedules": "schedule",
    "secrets": "secret",
    "webhooks": "webhook",
}


class LazyDoor(Door):
    """Finds `ipai run` in `cli/run.py` and so on, when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands by name."""
        del ctx
        return sorted(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command, also by its name in the plural."""
        cmd_name = _ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in _WHERE:
            return None
        module = importlib.import_module(f"ipai_orchestrate.cli.{_WHERE[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return _completed(command) if ctx.resilient_parsing else command


def _completed(command: click.Command) -> click.Command:
    """While a shell completes: a command that also completes the names it takes."""
    # Here, so that other calls need not load it.
    from ipai_orchestrate.cli.completion import teach

    return teach(command)


@click.group(
    cls=LazyDoor,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `ipai demo`. Every command has an example in its --help.",
)
@click.version_option(package_name="ipai-connectors", message="%(prog)s %(version)s")
def main() -> None:
    """Move data from its sources to Postgres, in layers: Bronze as delivered, Silver, Gold.

    Without IPAI_DATABASE_URL everything happens in an embedded Postgres that starts and stops by
    itself; with it, in the database it names. Exit codes: 0 done, 78 do what it says, 77 renew
    credentials, 75 try again later, 65 records went to the dead letters, 70 our bug, 1 other.
    """
