# SPDX-License-Identifier: Apache-2.0
"""`ipai completion`: what makes a shell complete commands, options, sources and instances."""

import os
from collections.abc import Iterable
from contextlib import suppress

import click
import psycopg
from click.shell_completion import CompletionItem, get_completion_class

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.embedded.postmaster import read_postmaster

SHELLS = ("bash", "zsh", "fish")
CONNECT_SECONDS = 2  # the least that libpq knows
_INSTANCES = """
    select instance_id, source_type from connectors.ipai_connector_config
    where starts_with(instance_id, %s) order by instance_id limit 200
"""


class InstanceName(click.ParamType[str]):
    """Any text, completed by the instances of a database that answers at once."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ask the database; say nothing where there is none."""
        del ctx, param
        return [CompletionItem(name, help=source) for name, source in _instances(incomplete)]


class SourceName(click.ParamType[str]):
    """Any text, completed by the source types installed here."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """List the connectors without loading them."""
        del ctx, param
        found = [name for name in discover_connectors() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in found]


_TYPES: dict[str, type[click.ParamType[str]]] = {
    "instance_id": InstanceName,
    "instances": InstanceName,
    "source": SourceName,
    "source_type": SourceName,
    "connector": SourceName,
    "sources": SourceName,
}


def teach(command: click.Command) -> click.Command:
    """Let a command and those below it complete the names that they take as plain text."""
    for parameter in command.params:
        if parameter.name in _TYPES and parameter.type is click.STRING:
            parameter.type = _TYPES[parameter.name]()
    if isinstance(command, click.Group):
        for one in command.commands.values():
            teach(one)
    return command


@click.command("completion", short_help="Complete commands in bash, zsh or fish.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, options, sources and instances.

    \b
    Examples:
      eval "$(ipai completion bash)"            in ~/.bashrc
      eval "$(ipai completion zsh)"             in ~/.zshrc
      ipai completion fish > ~/.config/fish/completions/ipai.fish

    Instances are completed when their database answers at once; no server is started for it.
    """
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click knows all three
        message = f"There is no completion for {shell!r}."
        raise click.UsageError(message)
    script = kind(ctx.find_root().command, {}, "ipai", "_IPAI_COMPLETE")
    # Its own `source()` starts bash to ask for its version; whoever has bash 3 sees it by itself.
    click.echo(script.source_template % script.source_vars())


def _instances(start: str) -> Iterable[tuple[str, str]]:
    dsn = os.environ.get("IPAI_DATABASE_URL") or _running()
    if not dsn:
        return []
    with (
        suppress(psycopg.Error),
        psycopg.connect(
            dsn,
            connect_timeout=CONNECT_SECONDS,
            prepare_threshold=None,
            application_name="ipai-completion",
        ) as connection,
    ):
        connection.execute("set local statement_timeout = '1s'")
        return connection.execute(_INSTANCES, (start,)).fetchall()
    return []


def _running() -> str | None:
    """The embedded server's address if it runs; asking never starts it."""
    home = home_of()
    with suppress(OSError):
        server = read_postmaster(home.data)
        if server is not None and server.serves(home.data):
            return home.url
    return None
