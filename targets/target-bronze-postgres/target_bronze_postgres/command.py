# SPDX-License-Identifier: Apache-2.0
"""The command `target-bronze-postgres`."""

from collections.abc import Mapping
from typing import Any, Final

from ipai_kit.landing.command import run_command
from ipai_kit.landing.program import Landing, TargetProgram
from target_bronze_postgres.settings import CONFIG_SCHEMA, TARGET_NAME, read_settings


def prepare(config: Mapping[str, Any], environment: Mapping[str, str]) -> Landing:
    """Check the settings; connects to nothing yet."""
    # here the landing has set collections apart: at the top they would cost a tenth of this import
    from target_bronze_postgres.database import Database

    settings = read_settings(config, environment)
    return Landing(
        settings, lambda events, stopping: Database(settings, events.emit, stopping=stopping)
    )


PROGRAM: Final = TargetProgram(
    name=TARGET_NAME,
    config_schema=CONFIG_SCHEMA,
    prepare=prepare,
    full_command="target_bronze_postgres.target:TargetBronzePostgres",
    quiet_loggers=("psycopg",),
)


def main() -> None:
    """Run the command."""
    run_command(PROGRAM)
