# SPDX-License-Identifier: Apache-2.0
"""The migration files: `<version>_<name>.sql` in supabase/, of the checkout or in the package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import ipai_orchestrate
from ipai_orchestrate.exceptions import MigrationError
from ipai_orchestrate.migrations.statements import split_statements

_FILE_NAME = re.compile(r"([0-9]+)_(.*)\.sql")


@dataclass(frozen=True)
class Migration:
    """One file of SQL."""

    version: str
    name: str
    script: str

    @property
    def statements(self) -> list[str]:
        """The statements as the history table keeps them."""
        return split_statements(self.script)


def supabase_folder() -> Path:
    """Return the folder with migrations/ and rollbacks/: the wheel's, else the checkout's."""
    package = Path(ipai_orchestrate.__file__).parent
    packaged = package / "_supabase"
    return packaged if packaged.is_dir() else package.parent.parent / "supabase"


def read_migrations(folder: Path) -> list[Migration]:
    """Return the migrations of a folder by version; two files of one version are refused."""
    found: dict[str, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        version, name = match.groups()
        if version in found:
            message = (
                f"Two migrations have version {version!r}: {found[version].name!r} and {name!r} "
                f"in {str(folder)!r}. Give the newer one a later version."
            )
            raise MigrationError(message)
        found[version] = Migration(version, name, path.read_text(encoding="utf-8"))
    if not found:
        message = f"No migration files in {str(folder)!r}. Reinstall ipai-connectors."
        raise MigrationError(message)
    return [found[version] for version in sorted(found)]
