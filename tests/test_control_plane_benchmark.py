# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the queue measures what its page shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "control_plane.py"
PAGE = ROOT / "docs" / "reference" / "control-plane-benchmarks.md"


@pytest.mark.slow
def test_every_section_measures_something():
    command = [sys.executable, str(SCRIPT), "--quick", "--without-peer", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert {"cycles", "history", "logs", "outbox"} == {line["section"] for line in lines}
    assert all(line["value"] > 0 for line in lines if line["unit"] in ("jobs/s", "lines/s", "ms"))


def test_the_page_says_when_it_was_measured_and_what_was_missed():
    text = PAGE.read_text(encoding="utf-8")
    figures = text.split("<!-- figures: begin -->")[1].split("<!-- figures: end -->")[0]

    assert re.search(r"Measured \d{4}-\d\d-\d\d \d\d:\d\d UTC .* load", figures, re.DOTALL)
    goals = [
        line for line in figures.splitlines() if re.search(r"\| (met|\*\*missed\*\*) \|$", line)
    ]
    assert len(goals) >= 3
