# SPDX-License-Identifier: Apache-2.0
"""The one place that knows which dialect answers at an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ipai_kit.exceptions import ConfigurationError
from ipai_kit.sql.address import address_from_settings
from ipai_kit.sql.database import Database
from ipai_kit.sql.dialects import open_dialect

__all__ = ["open_database"]


def open_database(config: Mapping[str, Any], check: Callable[[], None]) -> Database:
    """Return the database that the settings name; nothing is connected yet.

    `check` is called while the database lets us wait; what it raises ends the wait.
    """
    address = address_from_settings(config)
    if address.kind != "postgresql" or (config.get("jdbc_jars") and address.jdbc):
        return open_dialect(address, config)
    try:
        from ipai_kit.sql.postgres import PostgresDatabase
    except ModuleNotFoundError as error:
        message = f"The driver for 'postgresql' is not installed: {error.name!r}."
        raise ConfigurationError(message, next_step="Install psycopg.") from error
    return PostgresDatabase(address, allow_insecure=bool(config.get("allow_insecure")), check=check)
