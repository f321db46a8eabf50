# SPDX-License-Identifier: Apache-2.0
"""Change data capture from PostgreSQL: the log is drained once per run, over plain connections."""
