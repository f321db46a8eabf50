# SPDX-License-Identifier: Apache-2.0
"""The benchmark of extraction measures a real server and says what became of its goals."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def extraction(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("extraction")


def test_counts_the_rows_and_measures_ours_beside_the_limit():
    command = [sys.executable, str(ROOT / "benchmarks" / "extraction.py"), "--without-peers"]
    command.append("--installed-here")
    sizes = ["--rows", "300", "--turns", "1", "--large", "600"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "| tap-jdbc, Singer lines | 300 |" in done.stdout
    assert "| tap-jdbc, Singer lines | 600 |" in done.stdout
    assert "limit: psql" in done.stdout


@pytest.mark.parametrize(("cpu", "word"), [(30.0, "met"), (10.0, "**missed**")])
def test_says_what_became_of_the_goals(extraction, cpu, word):
    line = extraction.Line
    text = extraction.render(
        [
            line(extraction.OURS, 1000, 2.0, 1.0, 1.0, 90.0),
            line(extraction.MELTANO_NAME, 1000, cpu, cpu, cpu, 90.0),
            line("sling, CSV", 1000, problem="not installed"),
        ]
    )

    assert f"10 wanted: {word}" in text
    assert "| sling, CSV | 1,000 | not installed |" in text


def test_the_page_has_a_place_for_the_figures(extraction):
    assert extraction.PAGE.read_text().count("<!-- figures: begin -->\n") == 1
