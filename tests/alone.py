# SPDX-License-Identifier: Apache-2.0
"""Runs one package's tests in a new environment that holds only what the package declares.

Usage: python tests/alone.py taps/tap-github
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["pytest", "pytest-timeout", "hypothesis", "responses", "singer-sdk[testing]", "psutil"]


def main(package: str) -> int:
    """Exit code of pytest in the isolated environment."""
    manifest = tomllib.loads((ROOT / package / "pyproject.toml").read_text())
    extras = ",".join(manifest["project"].get("optional-dependencies", {}))
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(scratch) / "bin" / "python"
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--python", sys.executable, scratch], check=True)
        subprocess.run(
            [
                *uv,
                "pip",
                "install",
                "-q",
                "--python",
                str(python),
                "-e",
                f"{ROOT}/kit[sandbox]",
                "-e",
                f"{ROOT / package}" + (f"[{extras}]" if extras else ""),
                *TOOLS,
            ],
            check=True,
        )
        return subprocess.run([str(python), "-m", "pytest", package], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
