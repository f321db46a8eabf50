# SPDX-License-Identifier: Apache-2.0
"""`ipai connectors`, `ipai check`, `ipai discover`: the sources and what they offer."""

import click
from rich.markup import escape

from ipai_kit.spec import discover_connectors
from ipai_orchestrate.cli.output import answer, console, json_option, print_json, print_table
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.instances import connector_of, find_instance
from ipai_orchestrate.pipeline.check import SourceCheck, check_source, list_streams
from ipai_orchestrate.pipeline.start import default_work_root
from ipai_orchestrate.secrets import instance_secrets


@click.command("connectors")
@json_option
def connectors_command(as_json: bool) -> None:
    """List the connectors installed here.

    \b
    Example:
      ipai connectors
    """
    found = [
        {
            "source_type": one.source_type,
            "title": spec.title,
            "domain": spec.domain,
            "streams": len(spec.streams),
            "command": one.command,
            "distribution": one.distribution,
        }
        for one in discover_connectors().values()
        for spec in [one.spec()]
    ]
    columns = ("Source", "Title", "Domain", "Streams", "Command", "Package")
    empty = "No connector is installed. Write one: ipai new tap NAME"
    rows = [tuple(one.values()) for one in found]
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@click.command("check", short_help="Check credentials and reachability.")
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only this; repeatable.")
@json_option
def check_command(instance_id: str, streams: tuple[str, ...], as_json: bool) -> int:
    """Check credentials and reachability: read one record of every stream, store nothing.

    \b
    Example:
      ipai check github-acme
    """
    with opened_plane() as (database, _), database.connect() as connection:
        instance = find_instance(connection, instance_id)
        result = check_source(
            connector_of(instance),
            instance.config,
            streams,
            default_work_root(),
            secrets=instance_secrets(database, instance_id),
        )
    if as_json:
        print_json(result)
    else:
        _show(result)
    return result.exit_code


def _show(result: SourceCheck) -> None:
    words = {"ok": "[green]ok[/]", "empty": "[green]ok[/], no records"}
    rows = [(one.stream, one.outcome, one.detail or "") for one in result.streams]
    for stream, outcome, detail in rows:
        word = words.get(outcome, f"[yellow]{outcome}[/]")
        console().print(f"{stream:<28} {word}  {escape(detail)}")
    if result.failure:
        console().print(f"\n[red]Failed[/]: {escape(result.failure.summary)}")
    else:
        console().print("\n[green]The source answers and accepts the credentials.[/]")


@click.command("discover", short_help="List the streams a source offers.")
@click.argument("instance_id", metavar="INSTANCE")
@click.option("--catalog", is_flag=True, help="The whole Singer catalog instead of a table.")
@json_option
def discover_command(instance_id: str, catalog: bool, as_json: bool) -> None:
    """List the streams a source offers, with their keys and cursors.

    \b
    Examples:
      ipai discover github-acme
      ipai discover github-acme --catalog > catalog.json
    """
    with opened_plane() as (database, _), database.connect() as connection:
        instance = find_instance(connection, instance_id)
        secrets = instance_secrets(database, instance_id)
        connector = connector_of(instance)
        found = list_streams(connector, instance.config, default_work_root(), secrets)
    if catalog:
        print_json(found)
        return
    entries = found.get("streams", [])
    rows = [
        (
            one.get("stream") or one["tap_stream_id"],
            ", ".join(one.get("key_properties") or ()),
            one.get("replication_key") or "",
            len(one.get("schema", {}).get("properties", {})),
        )
        for one in entries
    ]
    columns = ("Stream", "Key", "Cursor", "Fields")
    records = [dict(zip(("stream", "key", "cursor", "fields"), row, strict=True)) for row in rows]
    answer(records, as_json, lambda: print_table(columns, rows, "The source offers no streams."))
