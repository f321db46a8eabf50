# SPDX-License-Identifier: Apache-2.0
"""`ipai spec`: connector specs, checked and explained."""

from pathlib import Path

import click
from rich.markup import escape

from ipai_kit.spec import ConnectorSpec, bronze_schema, bronze_table, check_spec, load_spec
from ipai_orchestrate.catalog import installed_connector
from ipai_orchestrate.cli.output import answer, console, json_option, print_json, print_table

CONFIGURATION = 78


@click.group("spec")
def spec_command() -> None:
    """Check and explain connector specs (connector.yaml).

    \b
    Examples:
      ipai spec validate taps/tap-github
      ipai spec explain github
    """


@spec_command.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@json_option
def validate(paths: tuple[str, ...], as_json: bool) -> int:
    """Check specs: files, folders of taps, or names of installed connectors.

    \b
    Example:
      ipai spec validate taps/*
    """
    problems = []
    for path in [_spec_path(path) for path in paths]:
        problems += check_spec(path.read_text(encoding="utf-8"), str(path))
    bad = any(problem.severity == "error" for problem in problems)
    if as_json:
        print_json([str(problem) for problem in problems])
    else:
        for problem in problems:
            console().print(escape(str(problem)), soft_wrap=True)
        console().print("[red]Not valid.[/]" if bad else "[green]Valid.[/]")
    return CONFIGURATION if bad else 0


@spec_command.command()
@click.argument("path", metavar="PATH")
@json_option
def explain(path: str, as_json: bool) -> None:
    """Say in words what a connector reads, needs and creates.

    \b
    Example:
      ipai spec explain github
    """
    spec = load_spec(_spec_path(path))
    answer(spec.config_schema(), as_json, lambda: _explain(spec))


def _explain(spec: ConnectorSpec) -> None:
    out = console()
    out.print(f"[bold]{escape(spec.title)}[/] ({spec.name}), API {escape(spec.api.version)}")
    out.print(escape(spec.description or spec.api.docs_url), "\n")
    quota = spec.quota
    out.print(
        f"Reads {spec.sync_mode.replace('_', ' ')} on schedule '{spec.schedule}' {spec.timezone}, "
        f"at most {quota.requests_per_second:g} requests a second, {quota.concurrency} at a time."
    )
    out.print(f"Signs in by: {', '.join(method.type for method in spec.auth_methods)}.\n")
    settings = [
        (name, one.type, _traits(one.required, one.secret, one.env), one.description)
        for name, one in spec.settings.items()
    ]
    print_table(("Setting", "Type", "", "What it does"), settings, "No settings.")
    out.print()
    streams = [
        (
            one.name,
            one.sync_mode,
            "" if one.selected else "off",
            f"{bronze_schema(spec.domain)}.{bronze_table(spec.source_type, one.name)}",
            one.description,
        )
        for one in spec.streams
    ]
    print_table(("Stream", "Mode", "", "Bronze table", "One record is"), streams, "No streams.")


def _traits(required: bool, secret: bool, env: str | None) -> str:
    traits = ["required"] if required else []
    traits += ["secret"] if secret else []
    return ", ".join([*traits, *([f"default ${env}"] if env else [])])


def _spec_path(text: str) -> Path:
    """A file, a folder of a tap, or the name of an installed connector."""
    path = Path(text)
    if path.is_dir():
        return next(iter(sorted(path.glob("**/connector.yaml"))), path / "connector.yaml")
    if path.suffix or path.exists():
        return path
    return installed_connector(text).spec_path
