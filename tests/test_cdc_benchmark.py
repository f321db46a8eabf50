# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the log measures what its page shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "cdc.py"
PAGE = ROOT / "docs" / "reference" / "cdc-benchmarks.md"


@pytest.mark.slow
def test_every_case_delivers_its_changes():
    command = [sys.executable, str(SCRIPT), "--changes", "200", "--turns", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert [line["changes"] for line in lines] == [200, 200, 400, 400, 20]


def test_the_page_says_when_it_was_measured_and_what_became_of_the_goal():
    figures = PAGE.read_text(encoding="utf-8").split("<!-- figures: begin -->")[1]

    assert re.search(r"Measured \d{4}-\d\d-\d\d \d\d:\d\d UTC .* load", figures, re.DOTALL)
    assert re.search(r"wanted: (met|\*\*missed\*\*)\.", figures)
