# SPDX-License-Identifier: Apache-2.0
"""README and the Meltano plugin list the settings that the target has."""

import re
from pathlib import Path

import pytest
import yaml

from target_bronze_postgres.settings import CONFIG_SCHEMA, TARGET_NAME
from target_bronze_postgres.target import TargetBronzePostgres

FOLDER = Path(__file__).resolve().parents[1]
PROPERTIES = CONFIG_SCHEMA["properties"]


def test_the_meltano_plugin_has_every_setting_with_its_description() -> None:
    [plugin] = yaml.safe_load((FOLDER / "meltano.yml").read_text())["plugins"]["loaders"]

    described = {setting["name"]: setting["description"] for setting in plugin["settings"]}
    assert plugin["name"] == plugin["executable"] == TARGET_NAME
    assert described == {name: rule["description"] for name, rule in PROPERTIES.items()}
    assert [s["name"] for s in plugin["settings"] if s.get("sensitive")] == [
        "database_url",
        "lease_token",
    ]
    assert plugin["capabilities"] == sorted(str(c.value) for c in TargetBronzePostgres.capabilities)


@pytest.mark.parametrize("name", PROPERTIES)
def test_the_readme_explains_every_setting_with_its_default(name: str) -> None:
    text = (FOLDER / "README.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    default = PROPERTIES[name].get("default")
    written = str(default).lower() if isinstance(default, bool) else str(default)

    assert shown[name] == ("—" if default is None else f"`{written}`")
