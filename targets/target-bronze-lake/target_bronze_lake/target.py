# SPDX-License-Identifier: Apache-2.0
"""The target as singer-sdk knows it: its command line, configuration, `--about`, standard tests."""

from typing import Any, ClassVar

from ipai_kit.landing.target import BronzeTarget
from target_bronze_lake.command import PROGRAM
from target_bronze_lake.settings import CONFIG_SCHEMA, TARGET_NAME


class TargetBronzeLake(BronzeTarget):
    """Lands records raw in Delta Lake or Parquet, on disk or S3."""

    name = TARGET_NAME
    package_name = "ipai-target-bronze-lake"
    config_jsonschema: ClassVar[dict[str, Any]] = CONFIG_SCHEMA
    program = PROGRAM
    usage = (
        "Reads Singer messages on standard input, writes STATE on standard output once it is"
        " committed.\n\n\b\n"
        "  tap-github | target-bronze-lake --config target.json >> state.jsonl\n"
        "  target-bronze-lake check --config target.json\n\n"
        "Between runs: check, optimize and vacuum, each with --help. --about lists the settings."
    )
