# SPDX-License-Identifier: Apache-2.0
"""The target as singer-sdk knows it: its command line, configuration, `--about`, standard tests."""

from typing import Any, ClassVar

from ipai_kit.landing.target import BronzeTarget
from target_bronze_postgres.command import PROGRAM
from target_bronze_postgres.settings import CONFIG_SCHEMA, TARGET_NAME


class TargetBronzePostgres(BronzeTarget):
    """Lands records raw in Postgres."""

    name = TARGET_NAME
    package_name = "ipai-target-bronze-postgres"
    config_jsonschema: ClassVar[dict[str, Any]] = CONFIG_SCHEMA
    program = PROGRAM
    usage = (
        "Reads Singer messages on standard input, writes STATE on standard output once it is"
        " committed.\n\n\b\n"
        "  tap-github | target-bronze-postgres --config target.json >> state.jsonl\n\n"
        "--about lists the settings."
    )
