# SPDX-License-Identifier: Apache-2.0
"""`python -m target_bronze_lake` is the command."""

from target_bronze_lake.command import main

main()
