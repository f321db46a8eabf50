# SPDX-License-Identifier: Apache-2.0
"""`ipai-dbt`: dbt on our project and database, for people and for Meltano's `dbt:build`.

Takes dbt's own arguments. The database is IPAI_DATABASE_URL, else the embedded server, which is
started when it does not run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from ipai_orchestrate.embedded import open_database
from ipai_orchestrate.exceptions import OrchestrateError
from ipai_orchestrate.transform.invocation import only_transform, prepare
from ipai_orchestrate.transform.process import run_attached
from ipai_orchestrate.transform.project import find_project

_OFFLINE = frozenset({"parse", "ls", "list", "clean", "deps", "--help", "-h", "--version"})
_WRITING = frozenset({"build", "run", "seed", "snapshot", "test", "retry", "clone"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run dbt with the given arguments and end with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        sys.exit(_run(given))
    except OrchestrateError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _run(arguments: list[str]) -> int:
    project = find_project()
    if _OFFLINE.intersection(arguments):
        dsn = os.environ.get("IPAI_DATABASE_URL")
        return run_attached(arguments, prepare(project, dsn).environment)
    with ExitStack() as held:
        dsn = held.enter_context(open_database(migrated=False))
        if _WRITING.intersection(arguments):
            held.enter_context(only_transform(dsn))
        return run_attached(arguments, prepare(project, dsn).environment)


if __name__ == "__main__":
    main()
