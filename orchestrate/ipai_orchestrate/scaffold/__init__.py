# SPDX-License-Identifier: Apache-2.0
"""Writes the folder of a new tap: ``ipai new tap jira``."""

from ipai_orchestrate.scaffold.tap import NewTap, new_tap

__all__ = ["NewTap", "new_tap"]
