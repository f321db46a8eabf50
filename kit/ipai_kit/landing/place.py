# SPDX-License-Identifier: Apache-2.0
"""Where the rows of a stream go."""

from dataclasses import dataclass

from ipai_kit.bronze import StreamPlan
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.spec.names import bronze_schema, bronze_table


@dataclass(frozen=True)
class BronzePlace:
    """Schema and table of a stream: a table of a database, or a folder of a lake."""

    schema: str
    table: str


def bronze_place(plan: StreamPlan) -> BronzePlace:
    """Where the rows of a stream go; raises ConfigurationError for a name that cannot be one."""
    try:
        return BronzePlace(bronze_schema(plan.domain), bronze_table(plan.source, plan.stream))
    except ValueError as error:
        message = f"Stream {plan.stream!r} cannot be landed: {error}"
        raise ConfigurationError(message, next_step="Set 'domain'.") from error
