# SPDX-License-Identifier: Apache-2.0
"""`python -m ipai_orchestrate.transform.silver [--check]`: generate the Silver models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ipai_orchestrate.exceptions import OrchestrateError
from ipai_orchestrate.transform.project import find_project
from ipai_orchestrate.transform.silver.generate import generate


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a file is out of date.")
@click.option(
    "--transform",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The dbt project. Default: the repository's.",
)
@click.option(
    "--schemas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with streams/<source>/<stream>.json. Default: schemas/ beside the project.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for machines.")
def main(check: bool, transform: Path | None, schemas: Path | None, as_json: bool) -> None:
    """Generate transform/models/silver from the streams' schemas.

    Example: ipai silver generate --check
    """
    try:
        root = transform or find_project().root
        drift = generate(root, schemas or root.parent / "schemas", check=check)
    except OrchestrateError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    actions = {"write": drift.written, "remove": drift.removed}
    if as_json:
        click.echo(json.dumps({name: [str(path) for path in actions[name]] for name in actions}))
    else:
        for name, paths in actions.items():
            for path in paths:
                click.echo(f"{name} {path}")
    if check and drift:
        click.echo("Silver is out of date. Run `ipai silver generate` and commit.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
