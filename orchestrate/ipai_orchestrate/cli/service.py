# SPDX-License-Identifier: Apache-2.0
"""What the commands that run on and on have in common."""

import sys

import click

from ipai_orchestrate.journal import Journal

log_format_option = click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    help="Events on standard error: text on a terminal, JSON lines elsewhere.",
)


def service_journal(log_format: str, **about: str) -> Journal:
    """The journal of a service on standard error; text does not repeat whose it is."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    return Journal(sys.stderr, as_json=as_json, **about)
