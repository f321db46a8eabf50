# SPDX-License-Identifier: Apache-2.0
"""`ipai new`: a connector to start from."""

from pathlib import Path

import click

from ipai_kit.spec import DOMAINS
from ipai_orchestrate.cli.output import answer, console, json_option
from ipai_orchestrate.scaffold import NewTap, new_tap


@click.group("new")
def new_command() -> None:
    """Write a new connector.

    \b
    Example:
      ipai new tap jira
    """


@new_command.command()
@click.argument("name")
@click.option("--title", help="As people call the source; made from NAME otherwise.")
@click.option(
    "--domain",
    type=click.Choice(DOMAINS),
    default="core",
    show_default=True,
    help="Whose data it is: names the schemas of its tables.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The repository, if not the current folder.",
)
@json_option
def tap(name: str, title: str | None, domain: str, root: Path, as_json: bool) -> None:
    """Write the folder of a tap that works: spec, one stream, its stand-in, tests.

    \b
    Example:
      ipai new tap jira --domain devops
    """
    made = new_tap(name, root, title=title, domain=domain)
    answer({"folder": made.folder, "files": made.files}, as_json, lambda: _show(made))


def _show(made: NewTap) -> None:
    out = console()
    out.print(f"Wrote {made.folder}:")
    for path in made.files:
        out.print(f"  {path.relative_to(made.folder)}")
    out.print("\nNext:")
    steps = {
        "make setup": "install it into this environment",
        f"pytest {made.folder}": "see it pass",
        f"ipai spec validate {made.folder}": "after you have edited connector.yaml",
    }
    width = max(map(len, steps))
    for command, what in steps.items():
        out.print(f"  {command:<{width}}  {what}", soft_wrap=True)
