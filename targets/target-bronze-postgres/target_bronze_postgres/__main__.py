# SPDX-License-Identifier: Apache-2.0
"""`python -m target_bronze_postgres` is the command, and what the installed command starts with."""

import gc
from importlib import import_module


def main() -> None:
    """Run the command; what it imports for good is not searched for cycles twenty times."""
    gc.disable()
    module = import_module("target_bronze_postgres.command")
    gc.enable()
    module.main()


if __name__ == "__main__":
    main()
