# SPDX-License-Identifier: Apache-2.0
"""From a database address to what dbt's profile reads."""

from __future__ import annotations

import pytest

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.transform.profile import database_label, profile_environment

PASSWORD = "DBT_ENV_SECRET_IPAI_PASSWORD"


@pytest.fixture(autouse=True)
def no_libpq_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (
            "postgresql://ann:s%40crt@db.example:6543/app",
            {
                "IPAI_DBT_HOST": "db.example",
                "IPAI_DBT_PORT": "6543",
                "IPAI_DBT_USER": "ann",
                "IPAI_DBT_DBNAME": "app",
                PASSWORD: "s@crt",
            },
        ),
        (
            "postgresql://postgres@/postgres?host=/run/a%20b/socket",
            {"IPAI_DBT_HOST": "/run/a b/socket", "IPAI_DBT_PORT": "5432", PASSWORD: ""},
        ),
        (
            "host=h user=u password='a b' sslmode=verify-full sslrootcert=/ca.pem",
            {
                "IPAI_DBT_DBNAME": "u",
                PASSWORD: "a b",
                "PGSSLMODE": "verify-full",
                "PGSSLROOTCERT": "/ca.pem",
            },
        ),
        (
            "postgresql://u@h/d?options=-c%20role%3Dx&target_session_attrs=read-write",
            {"PGOPTIONS": "-c role=x", "PGTARGETSESSIONATTRS": "read-write"},
        ),
    ],
)
def test_every_part_of_the_address_reaches_dbt(dsn: str, expected: dict[str, str]) -> None:
    environment = profile_environment(dsn)

    assert expected.items() <= environment.items()


def test_what_the_address_leaves_open_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPASSWORD", "from-env")

    environment = profile_environment("postgresql:///app?user=u")

    assert environment["IPAI_DBT_HOST"] == "elsewhere"
    assert environment[PASSWORD] == "from-env"


def test_an_address_that_cannot_be_read_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile_environment("postgresql://ann:top-secret@h:port/db?no_such=1")

    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert "URL-encoded" in str(caught.value)
    assert "top-secret" not in "".join(str(error) for error in chain[:2])


def test_the_label_tells_databases_apart_and_keeps_the_password_out() -> None:
    one = profile_environment("postgresql://u:a@h/d")
    other_password = profile_environment("postgresql://u:b@h/d")
    other_database = profile_environment("postgresql://u:a@h/e")

    assert database_label(one) == database_label(other_password)
    assert database_label(one) != database_label(other_database)
