# SPDX-License-Identifier: Apache-2.0
"""Writes the scripts of the link: what they do stands in the .sql files, what differs before them.

The password is in none of them: psql takes it from its environment when a script runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from psycopg import pq

from ipai_orchestrate.exceptions import ConfigurationError

PASSWORD_VARIABLE = "IPAI_ODOO_READER_PASSWORD"  # noqa: S105 - the name of a variable
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PLAIN = re.compile(r"[^'\\\s]+")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Link:
    """Where Odoo's server finds the warehouse, and who reads as whom."""

    host: str
    port: int
    database: str
    sslmode: str
    reader: str
    odoo_role: str

    def __post_init__(self) -> None:
        for option, value in (("--reader", self.reader), ("--odoo-role", self.odoo_role)):
            if not _NAME.fullmatch(value):
                message = (
                    f"{option} is not a plain name of a role: {value!r}. "
                    "Use lower-case letters, digits and underscores."
                )
                raise ConfigurationError(message)
        for option, value in (("--host", self.host), ("--database", self.database)):
            if not _PLAIN.fullmatch(value):
                message = (
                    f"{option} has a quote, a backslash or a space: {value!r}. Write it plain."
                )
                raise ConfigurationError(message)


def plan_link(
    dsn: str | None,
    *,
    host: str | None,
    port: int | None,
    database: str | None,
    sslmode: str | None,
    reader: str,
    odoo_role: str,
) -> Link:
    """What is given, completed from the warehouse's own address."""
    known = _parts(dsn)
    found = host or known.get("host", "")
    if not found or (found.startswith("/") and not host):
        # Our own socket says nothing about the machine that Odoo's server runs on.
        message = (
            "Nothing says where Odoo's server finds the warehouse. "
            "Name it: ipai odoo link --host warehouse.example.com --database ipai."
        )
        raise ConfigurationError(message)
    is_local = found in _LOCAL or found.startswith("/")
    given = sslmode or known.get("sslmode") or ("prefer" if is_local else "require")
    if given not in SSL_MODES:
        message = f"SSL mode {given!r} is none of {', '.join(SSL_MODES)}. Set --sslmode."
        raise ConfigurationError(message)
    if given in {"disable", "prefer"} and not is_local:
        message = (
            f"SSL mode {given!r} would show figures and password to everybody before {found!r}. "
            "Use --sslmode require, or verify-full."
        )
        raise ConfigurationError(message)
    return Link(
        host=found,
        port=port or int(known.get("port") or 5432),
        database=database or known.get("dbname") or "postgres",
        sslmode=given,
        reader=reader,
        odoo_role=odoo_role,
    )


def write_scripts(link: Link, folder: Path) -> tuple[Path, Path]:
    """Write both scripts; returns the warehouse's and Odoo's."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "warehouse.sql", folder / "odoo.sql"
    for path in paths:
        body = resources.files(__package__).joinpath(path.name).read_text(encoding="utf-8")
        path.write_text(_variables(link) + body, encoding="utf-8")
    return paths


def _variables(link: Link) -> str:
    values = {
        "host": link.host,
        "port": str(link.port),
        "database": link.database,
        "sslmode": link.sslmode,
        "reader": link.reader,
        "odoo_role": link.odoo_role,
    }
    lines = [f"\\set {name} '{value}'" for name, value in values.items()]
    return "\n".join([*lines, f"\\getenv reader_password {PASSWORD_VARIABLE}", ""])


def _parts(dsn: str | None) -> dict[str, str]:
    if not dsn:
        return {}
    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.parse(dsn.encode())
        if option.val
    }
