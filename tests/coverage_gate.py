# SPDX-License-Identifier: Apache-2.0
"""Fails when a package's branch coverage is below 80 %, judged package by package.

Reads the data that `make test` left. Usage: python tests/coverage_gate.py PACKAGE_FOLDER...
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIRED = 80.0
EMPTY_MODULE_BYTES = 400


def measure(folder: str) -> tuple[float, float]:
    """Percentages (branches, lines) covered in one package folder."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "coverage.json"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "coverage",
                "json",
                "-q",
                "-o",
                str(report),
                f"--include={folder}/*",
            ],
            check=True,
        )
        data = json.loads(report.read_text())
    totals = data["totals"]
    unseen = {str(p) for p in Path(folder).rglob("*.py")} - set(data["files"])
    unseen = {
        name
        for name in unseen
        if Path(name).stat().st_size > EMPTY_MODULE_BYTES
        and "pragma: no cover" not in Path(name).read_text()
    }
    if unseen:
        sys.exit(f"Modules that no test loads: {sorted(unseen)!r}. Test them or delete them.")
    branches = 100.0 * totals["covered_branches"] / max(totals["num_branches"], 1)
    return branches, 100.0 * totals["covered_lines"] / max(totals["num_statements"], 1)


def main(folders: list[str]) -> int:
    """Print one line per package; 1 when one is below the bar."""
    low = 0
    for folder in folders:
        branches, lines = measure(folder)
        verdict = "ok" if branches >= REQUIRED else f"BELOW {REQUIRED:.0f} %"
        low += branches < REQUIRED
        print(f"{folder:60s} branches {branches:5.1f} %  lines {lines:5.1f} %  {verdict}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
