# SPDX-License-Identifier: Apache-2.0
"""`python -m target_bronze_postgres` is the command."""

from target_bronze_postgres.command import main

main()
