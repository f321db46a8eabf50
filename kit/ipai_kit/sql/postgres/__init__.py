# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as a source."""

from ipai_kit.sql.postgres.reader import PostgresDatabase

__all__ = ["PostgresDatabase"]
