# SPDX-License-Identifier: Apache-2.0
"""Saves STATE in the control plane of the same database, in the transaction of its rows."""

import msgspec

from ipai_kit.exceptions import ConfigurationError
from target_bronze_postgres.settings import Lease
from target_bronze_postgres.statements import statement
from target_bronze_postgres.tables import Connection


def check_right(connection: Connection) -> None:
    """Refuse a database without a control plane, or a role that may not save STATE there."""
    row = connection.execute(statement("may_save_state")).fetchone()
    if not (row and row[0]):
        message = "STATE cannot be saved here: no connectors.save_connector_state for this role."
        step = "Leave 'state_in_transaction' out, or make the role a member of ipai_worker."
        raise ConfigurationError(message, next_step=step)


def save_state(connection: Connection, lease: Lease, state: bytes) -> None:
    """Save a STATE value under the run's lease; one that says nothing is left out."""
    value = msgspec.json.decode(state)
    if not isinstance(value, dict) or not value:
        return
    values = {"run_id": lease.run_id, "lease_token": lease.token, "state": state.decode()}
    connection.execute(statement("save_state"), values)
