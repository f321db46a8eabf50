# SPDX-License-Identifier: Apache-2.0
"""What a connector is: its spec, the names made from it, where it is installed, what is secret.

The only part of the kit that the orchestrator imports: it needs neither singer-sdk nor a tap.
"""

from ipai_kit.spec.cron import CronError, CronSchedule
from ipai_kit.spec.discovery import InstalledConnector, discover_connectors
from ipai_kit.spec.model import (
    Api,
    AuthMethod,
    ConnectorSpec,
    Quality,
    Quota,
    Setting,
    StreamSpec,
    TermsOfService,
    parse_duration,
)
from ipai_kit.spec.names import (
    DOMAINS,
    PLATINUM_SCHEMA,
    SYNC_MODES,
    bronze_schema,
    bronze_table,
    command_name,
    definition_name,
    distribution_name,
    gold_schema,
    gold_view,
    job_name,
    module_name,
    name_clashes,
    silver_schema,
    silver_table,
)
from ipai_kit.spec.redaction import MASK, RedactedStream, Redactor, find_token, secret_values
from ipai_kit.spec.validation import (
    SpecError,
    check_spec,
    connector_schema,
    load_spec,
    parse_spec,
)
from ipai_kit.spec.yaml_source import SpecProblem

__all__ = [
    "DOMAINS",
    "MASK",
    "PLATINUM_SCHEMA",
    "SYNC_MODES",
    "Api",
    "AuthMethod",
    "ConnectorSpec",
    "CronError",
    "CronSchedule",
    "InstalledConnector",
    "Quality",
    "Quota",
    "RedactedStream",
    "Redactor",
    "Setting",
    "SpecError",
    "SpecProblem",
    "StreamSpec",
    "TermsOfService",
    "bronze_schema",
    "bronze_table",
    "check_spec",
    "command_name",
    "connector_schema",
    "definition_name",
    "discover_connectors",
    "distribution_name",
    "find_token",
    "gold_schema",
    "gold_view",
    "job_name",
    "load_spec",
    "module_name",
    "name_clashes",
    "parse_duration",
    "parse_spec",
    "secret_values",
    "silver_schema",
    "silver_table",
]
