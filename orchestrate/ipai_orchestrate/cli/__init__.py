# SPDX-License-Identifier: Apache-2.0
"""The command `ipai`: a door to what the other packages do. No rule lives here."""

from ipai_orchestrate.cli.commands import main

__all__ = ["main"]
