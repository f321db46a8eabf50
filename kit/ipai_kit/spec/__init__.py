# SPDX-License-Identifier: Apache-2.0
"""What a connector is: its spec, the names made from it, where it is installed, what is secret.

The only part of the kit that the orchestrator imports: it needs neither singer-sdk nor a tap.

Each name is loaded when it is first used: a target needs the names of tables at its start, but
neither the YAML reader nor the list of installed connectors.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ipai_kit.spec.cron import CronError, CronSchedule
    from ipai_kit.spec.database_address import needs_proof, unverified_host
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
    "needs_proof",
    "parse_duration",
    "parse_spec",
    "secret_values",
    "silver_schema",
    "silver_table",
    "unverified_host",
]

_HOMES: Final = {
    "cron": (
        "CronError",
        "CronSchedule",
    ),
    "database_address": (
        "needs_proof",
        "unverified_host",
    ),
    "discovery": (
        "InstalledConnector",
        "discover_connectors",
    ),
    "model": (
        "Api",
        "AuthMethod",
        "ConnectorSpec",
        "Quality",
        "Quota",
        "Setting",
        "StreamSpec",
        "TermsOfService",
        "parse_duration",
    ),
    "names": (
        "DOMAINS",
        "PLATINUM_SCHEMA",
        "SYNC_MODES",
        "bronze_schema",
        "bronze_table",
        "command_name",
        "definition_name",
        "distribution_name",
        "gold_schema",
        "gold_view",
        "job_name",
        "module_name",
        "name_clashes",
        "silver_schema",
        "silver_table",
    ),
    "redaction": (
        "MASK",
        "RedactedStream",
        "Redactor",
        "find_token",
        "secret_values",
    ),
    "validation": (
        "SpecError",
        "check_spec",
        "connector_schema",
        "load_spec",
        "parse_spec",
    ),
    "yaml_source": ("SpecProblem",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a name from the module that defines it."""
    home = _HOME_OF.get(name)
    if home is None:
        message = f"Module {__name__!r} has no attribute {name!r}."
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
