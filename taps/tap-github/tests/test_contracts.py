# SPDX-License-Identifier: Apache-2.0
"""What is written about the tap (README, Meltano plugin, exported schemas) is what the tap is."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ipai_kit.rest import RestStream
from ipai_kit.spec import StreamSpec
from tap_github.tap import TapGitHub

PACKAGE = Path(__file__).parents[1]
WORKSPACE = PACKAGE.parents[1]
TAP = TapGitHub(config={})
# Meltano cannot write a decimal into the configuration file of a plugin: numbers are text there.
KINDS = {"array": "array", "boolean": "boolean", "integer": "integer", "number": "string"}


def stream_of(spec: StreamSpec) -> RestStream:
    stream = TAP.streams[spec.name]
    assert isinstance(stream, RestStream)
    return stream


def read_again(spec: StreamSpec) -> str:
    """How the next run finds what is new, in words."""
    stream = stream_of(spec)
    if spec.cursor_from:
        return f"with its `{spec.cursor_from}`"
    if not spec.cursor:
        return "in full"
    lookback = f", {spec.lookback.days} days earlier" if spec.lookback else ""
    way = "newest first until known" if stream.sort == "descending" else "whole list"
    if stream.cursor_param:
        way = f"`{stream.cursor_param}`"
    elif stream.name == "workflow_runs":
        way = "`created` windows"
    return f"`{spec.cursor}`, {way}{lookback}"


def streams_table() -> str:
    """The table of the README."""
    lines = ["| stream | key | read again | one record is |", "|---|---|---|---|"]
    for spec in TapGitHub.spec.streams:
        key = ", ".join(f"`{name}`" for name in stream_of(spec).primary_keys)
        name = spec.name if spec.selected else f"{spec.name} *"
        text = spec.description.removesuffix(".")
        lines.append(f"| {name} | {key} | {read_again(spec)} | {text[0].lower() + text[1:]} |")
    return "\n".join(lines)


def settings_table() -> str:
    """The settings of the README, with the variable that gives each."""
    lines = ["| setting | variables | what it is |", "|---|---|---|"]
    for name, setting in TapGitHub.spec.settings.items():
        variables = [f"TAP_GITHUB_{name.upper()}", *([setting.env] if setting.env else [])]
        shown = ", ".join(f"`{one}`" for one in variables)
        lines.append(f"| `{name}` | {shown} | {setting.description} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [streams_table, settings_table])
def test_the_readme_tells_what_the_code_does(table: Any) -> None:
    assert table() in (PACKAGE / "README.md").read_text("utf-8")


def test_the_meltano_plugin_offers_what_the_tap_takes() -> None:
    plugin = yaml.safe_load((PACKAGE / "meltano.yml").read_text("utf-8"))
    (extractor,) = plugin["plugins"]["extractors"]
    properties = TapGitHub.config_jsonschema["properties"]
    offered = {one["name"]: one for one in extractor["settings"]}
    own = {*TapGitHub.spec.settings, "start_date", "api_url", "full_refresh"}

    assert extractor["executable"] == "tap-github"
    assert set(extractor["capabilities"]) == {one.value for one in TapGitHub.capabilities}
    assert own <= set(offered) <= set(properties)
    for name, setting in TapGitHub.spec.settings.items():
        assert offered[name].get("sensitive", False) is setting.secret, name
        assert offered[name]["kind"] == KINDS.get(setting.type, "string"), name


def test_exported_contracts_are_up_to_date() -> None:
    script = WORKSPACE / "schemas" / "export_streams.py"
    if not script.exists():
        pytest.skip("The package stands alone: there are no exported contracts beside it.")
    command = [sys.executable, str(script), "github", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.stdout == ""
    assert done.returncode == 0


def test_every_schema_file_belongs_to_a_stream_and_is_sound() -> None:
    files = {path.stem: path for path in (PACKAGE / "tap_github" / "schemas").glob("*.json")}
    assert set(files) == set(TAP.streams)
    for name, path in files.items():
        schema = json.loads(path.read_text("utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        keys = TAP.streams[name].primary_keys
        assert schema["required"] == list(keys), name
        for field, about in schema["properties"].items():
            assert about.get("description"), f"{name}.{field}"
            kinds = about.get("type", ["null"])
            assert ("null" in kinds) is (field not in keys), f"{name}.{field}"


def test_the_spec_names_the_api_version_that_requests_ask_for() -> None:
    versions = {
        stream.headers["X-GitHub-Api-Version"]
        for stream in TAP.streams.values()
        if isinstance(stream, RestStream)
    }

    assert versions == {TapGitHub.spec.api.version}


def test_every_stream_is_declared_in_a_few_lines() -> None:
    source = (PACKAGE / "tap_github" / "streams.py").read_text("utf-8")
    classes = re.split(r"\n(?=class )", source)[1:]
    lengths = {
        one.split("(")[0]: len(one.split("\n# --")[0].strip().splitlines()) for one in classes
    }
    lengths.popitem()  # the last one carries the list of all

    assert max(lengths.values()) <= 24, lengths
    assert sorted(lengths.values())[len(lengths) // 2] <= 10
