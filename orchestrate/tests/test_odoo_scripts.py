# SPDX-License-Identifier: Apache-2.0
"""What `ipai odoo link` takes from the warehouse's address, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ipai_orchestrate.cli import main
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.odoo.link import Link, plan_link

ADDRESS = "postgresql://builder:hidden@db.example.com:6543/ipai?sslmode=verify-full"


def planned(dsn: str | None = None, **given: str | int | None) -> Link:
    options = {"host": None, "port": None, "database": None, "sslmode": None}
    roles = {"reader": "ipai_odoo_reader", "odoo_role": "odoo"}
    return plan_link(dsn, **{**options, **roles, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dsn", "given", "expected"),
    [
        (ADDRESS, {}, ("db.example.com", 6543, "ipai", "verify-full")),
        (ADDRESS, {"sslmode": "require"}, ("db.example.com", 6543, "ipai", "require")),
        (None, {"host": "h", "database": "d"}, ("h", 5432, "d", "require")),
        ("postgresql:///ipai?host=/run/x", {"host": "h"}, ("h", 5432, "ipai", "require")),
        (None, {"host": "localhost", "port": 1}, ("localhost", 1, "postgres", "prefer")),
        ("postgresql:///ipai?host=/run/x", {"host": "/run/y"}, ("/run/y", 5432, "ipai", "prefer")),
    ],
)
def test_the_address_of_the_warehouse_is_the_default(
    dsn: str | None, given: dict[str, str | int], expected: tuple[str, int, str, str]
) -> None:
    link = planned(dsn, **given)

    assert (link.host, link.port, link.database, link.sslmode) == expected


@pytest.mark.parametrize(
    ("dsn", "given", "said"),
    [
        (None, {}, "Nothing says where Odoo's server finds the warehouse"),
        ("postgresql:///ipai?host=/run/x", {}, "Nothing says where"),
        (None, {"host": "h", "sslmode": "prefer"}, "Use --sslmode require"),
        ("postgresql://h/d?sslmode=allow", {}, "SSL mode 'allow' is none of"),
        (None, {"host": "h'; drop table x"}, "--host has a quote"),
        (None, {"host": "h", "database": "a\\b"}, "--database has a quote, a backslash"),
        (None, {"host": "h", "reader": 'x"y'}, "--reader is not a plain name"),
        (None, {"host": "h", "odoo_role": "Odoo"}, "--odoo-role is not a plain name"),
    ],
)
def test_what_cannot_be_right_is_refused(
    dsn: str | None, given: dict[str, str | int], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said.replace("(", r"\(").replace("\\b", ".b")):
        planned(dsn, **given)


def test_the_scripts_hold_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", ADDRESS)
    monkeypatch.setenv("IPAI_ODOO_READER_PASSWORD", "hidden too")

    done = CliRunner().invoke(main, ["odoo", "link", "--output", str(tmp_path / "link")])

    assert done.exit_code == 0, done.output
    texts = [path.read_text() for path in sorted((tmp_path / "link").iterdir())]
    assert len(texts) == 2
    for text in texts:
        assert "hidden" not in text
        assert "\\set host 'db.example.com'" in text
        assert "\\getenv reader_password IPAI_ODOO_READER_PASSWORD" in text
    assert "hidden" not in done.output
