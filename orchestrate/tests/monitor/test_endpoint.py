# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: what Prometheus scrapes, and who may ask."""

from __future__ import annotations

import http.client
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.monitor.endpoint import (
    EndpointOptions,
    Scrapes,
    is_loopback,
    metrics_endpoint,
)
from ipai_orchestrate.pipeline.database import Database

IPAI = "from ipai_orchestrate.cli import main; main()"
TOKEN = "0123456789abcdef"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def parse(text: str) -> dict[str, float]:
    """The samples by their series; asserts what the format asks for."""
    series: dict[str, float] = {}
    families: dict[str, str] = {}
    current = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, keyword, name, rest = line.split(" ", 3)
            assert keyword in {"HELP", "TYPE"}, line
            if keyword == "HELP":
                assert name not in families, f"{name} comes in two places"
                current, families[name] = name, ""
            else:
                assert name == current, line
                assert rest in {"counter", "gauge", "histogram"}, line
                families[name] = rest
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, kind = found[1], families[current]
        assert name in [current + suffix for suffix in SUFFIXES.get(kind, ("",))], line
        assert kind != "counter" or name.endswith("_total"), line
        key = f"{name}{{{found[2] or ''}}}"
        assert key not in series, f"{key} comes twice"
        series[key] = float(found[3])
        assert not math.isnan(series[key])
    return series


@contextmanager
def asking(address: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def get(
    address: str, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str]:
    with asking(address) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return answer.status, answer.read().decode()


def test_a_scrape_is_what_prometheus_reads(database: str) -> None:
    options = EndpointOptions(port=0)
    with metrics_endpoint(options, Scrapes(Database(database))) as address:
        status, text = get(address)
        assert status == 200
        assert parse(text)['ipai_services_alive{kind="worker"}'] == 0
        assert get(address, "/metrics?x=1")[0] == 200
        assert get(address, method="HEAD") == (200, "")
        assert get(address, "/")[0] == 404
        assert get(address, host="evil.example.com")[0] == 401
        assert get(address, host="localhost:1")[0] == 200


def test_a_token_is_asked_for_when_there_is_one(database: str) -> None:
    options = EndpointOptions("127.0.0.1", 0, TOKEN)
    with metrics_endpoint(options, Scrapes(Database(database))) as address:
        for given in ({}, {"authorization": "Bearer x"}, {"authorization": TOKEN}):
            assert get(address, **given)[0] == 401
        assert get(address, authorization=f"Bearer {TOKEN}", host="any.example.com")[0] == 200


@pytest.mark.parametrize(
    ("host", "token", "reason"),
    [
        ("0.0.0.0", "", "'0.0.0.0' is open to others and there is no token. Set IPAI_METRICS"),
        ("::", "", "open to others"),
        ("metrics.example.com", "", "open to others"),
        ("127.0.0.1", "short", "too short"),
    ],
)
def test_nobody_is_let_in_from_outside_without_a_token(host: str, token: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        EndpointOptions(host, 0, token)
    assert TOKEN not in repr(EndpointOptions("0.0.0.0", 0, TOKEN))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.3.2.1", True),
        ("[::1]", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_database_is_asked_once_a_second_and_its_absence_is_503(
    database: str, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    now = [100.0]
    scrapes = Scrapes(Database(database), lambda: now[0])
    with metrics_endpoint(EndpointOptions(port=0), scrapes) as address:
        first = get(address)
        connection.execute("alter function connectors.metrics() rename to gone")
        assert get(address) == first
        now[0] += 1.1
        status, text = get(address)
        assert (status, "database does not answer" in text) == (503, True)
        connection.execute("alter function connectors.gone() rename to metrics")
        assert get(address)[0] == 200


def test_a_port_that_is_taken_is_told_in_words(database: str) -> None:
    scrapes = Scrapes(Database(database))
    with metrics_endpoint(EndpointOptions(port=0), scrapes) as address:
        taken = EndpointOptions(port=urlsplit(address).port or 0)
        with (
            pytest.raises(ConfigurationError, match="Choose another --port"),
            metrics_endpoint(taken, scrapes),
        ):
            pytest.fail("two listen at one port")


def test_the_command_serves_until_it_is_told_to_end(database: str) -> None:
    environment = os.environ | {"IPAI_DATABASE_URL": database}
    command = [sys.executable, "-c", IPAI, "metrics", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        line = served.stderr.readline()
        assert line.startswith("Serving http://127.0.0.1:"), line
        assert get(line.split()[1])[0] == 200
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == 0
    command += ["--host", "0.0.0.0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 78
    assert "Traceback" not in refused.stderr
