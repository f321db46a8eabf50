# SPDX-License-Identifier: Apache-2.0
"""Change data capture from MariaDB and MySQL: the binary log is drained once per run."""
