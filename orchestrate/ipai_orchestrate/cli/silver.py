# SPDX-License-Identifier: Apache-2.0
"""`ipai silver`: the models that are generated from the streams' schemas."""

import click

from ipai_orchestrate.transform.silver.__main__ import main as generate


@click.group("silver")
def silver_command() -> None:
    """Silver models follow the streams' schemas.

    Example: ipai silver generate --check
    """


silver_command.add_command(generate, "generate")
