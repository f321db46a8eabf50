# SPDX-License-Identifier: Apache-2.0
"""Which database addresses leave it open who answers."""

import pytest

from ipai_kit.spec import needs_proof, unverified_host


@pytest.mark.parametrize(
    ("parameters", "environment", "expected"),
    [
        ({}, {}, None),
        ({"host": "/run/postgresql"}, {}, None),
        ({"host": "@abstract"}, {}, None),
        ({"host": "localhost"}, {}, None),
        ({"host": "127.0.0.9"}, {}, None),
        ({"host": "::1"}, {}, None),
        ({"host": "db.example.com"}, {}, "db.example.com"),
        ({"host": "db.example.com", "sslmode": "prefer"}, {}, "db.example.com"),
        ({"host": "db.example.com", "sslmode": "require"}, {}, "db.example.com"),
        ({"host": "db.example.com", "sslmode": "verify-ca"}, {}, "db.example.com"),
        ({"host": "db.example.com", "sslmode": "verify-full"}, {}, None),
        ({"host": "db.example.com", "sslrootcert": "system"}, {}, None),
        ({"host": "db.example.com", "sslrootcert": "/ca.pem"}, {}, "db.example.com"),
        ({"host": "localhost,10.0.0.7"}, {}, "10.0.0.7"),
        ({"host": "localhost", "hostaddr": "10.0.0.7"}, {}, "10.0.0.7"),
        ({"host": "db.example.com", "hostaddr": "127.0.0.1"}, {}, None),
        ({"dbname": "x"}, {"PGHOST": "db.example.com"}, "db.example.com"),
        ({"dbname": "x"}, {"PGHOSTADDR": "10.0.0.7"}, "10.0.0.7"),
        ({"host": "10.0.0.7"}, {"PGSSLMODE": "verify-full"}, "10.0.0.7"),
        ({"service": "plane"}, {}, "service plane"),
        ({"service": "plane", "sslmode": "verify-full"}, {}, None),
    ],
)
def test_only_verify_full_proves_who_a_remote_server_is(parameters, environment, expected):
    assert expected == unverified_host(parameters, environment)


@pytest.mark.parametrize(
    ("env", "expected"),
    [("production", True), (" Prod ", True), ("staging", False), ("", False), (None, False)],
)
def test_production_asks_for_proof(env, expected):
    assert expected == needs_proof(env)
