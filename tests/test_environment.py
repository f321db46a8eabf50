# SPDX-License-Identifier: Apache-2.0
"""Variables of the environment: those that programs read are documented, and the other way."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"[\"'](IPAI_[A-Z_]+)[\"']")
DOCUMENTED = re.compile(r"`(IPAI_[A-Z_]+)`")
CODE = ("kit/ipai_kit", "orchestrate/ipai_orchestrate", "taps/*/tap_*", "targets/*/target_*")


def read() -> set[str]:
    folders = [folder for pattern in CODE for folder in ROOT.glob(pattern)]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    files.append(ROOT / "transform" / "profiles.yml")
    outside = [file for file in files if "testing" not in file.parts]
    return {name for file in outside for name in NAMED.findall(file.read_text("utf-8"))}


def test_the_operating_guide_lists_the_variables_that_programs_read() -> None:
    page = (ROOT / "docs" / "operate.md").read_text("utf-8")
    table = page.partition("What the environment may say")[2].partition("\n## ")[0]

    assert read() == set(DOCUMENTED.findall(table))


def test_what_deployments_set_is_read() -> None:
    files = [ROOT / "compose.yaml", *(ROOT / "deploy").rglob("*")]
    texts = [file.read_text("utf-8") for file in files if file.is_file()]
    given = {name for text in texts for name in re.findall(r"IPAI_[A-Z_]+", text)}

    # That of compose's own database.
    assert given - {"IPAI_DATABASE_PASSWORD"} <= read()
