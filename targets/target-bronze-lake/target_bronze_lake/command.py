# SPDX-License-Identifier: Apache-2.0
"""The command `target-bronze-lake`."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from ipai_kit.landing.command import run_command
from ipai_kit.landing.program import Landing, TargetProgram
from target_bronze_lake.settings import CONFIG_SCHEMA, TARGET_NAME, VERBS, read_settings


def prepare(config: Mapping[str, Any], environment: Mapping[str, str]) -> Landing:
    """Check the settings; connects to nothing yet."""
    settings = read_settings(config, environment)
    # here the landing has set collections apart: at the top they would cost a tenth of this import
    from target_bronze_lake.lake import Lake

    return Landing(
        settings, lambda events, stopping: Lake(settings, events.emit, stopping=stopping)
    )


PROGRAM: Final = TargetProgram(
    name=TARGET_NAME,
    config_schema=CONFIG_SCHEMA,
    prepare=prepare,
    full_command="target_bronze_lake.target:TargetBronzeLake",
)


def main() -> None:
    """Land standard input, or care for the lake when a verb says so."""
    # Arrow reads this when it is first loaded: its own allocator keeps what large pages needed
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        sys.exit(importlib.import_module("target_bronze_lake.maintenance").maintain(sys.argv[1:]))
    run_command(PROGRAM)
