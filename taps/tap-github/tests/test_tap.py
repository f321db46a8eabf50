# SPDX-License-Identifier: Apache-2.0
"""What every tap does: singer-sdk's suite, the house rules, the command line, signing in."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from singer_sdk import Stream
from singer_sdk.testing import SuiteConfig

from ipai_kit.exceptions import ConfigurationError, CredentialsError
from ipai_kit.testing import SandboxUrl, connector_conformance, run_tap, running_sandbox
from ipai_kit.testing.standard import standard_tap_tests
from tap_github.sandbox import ORGANIZATION, TOKENS
from tap_github.tap import TapGitHub

COMMAND = str(Path(sys.executable).parent / "tap-github")
SIZES = {"repos": 1, "issues_per_repo": 8, "pulls_per_repo": 8, "commits_per_repo": 10}


class EveryStream(TapGitHub):
    """Selects what costs a request for each commit, too: the suite knows no catalog."""

    def discover_streams(self) -> Sequence[Stream]:
        streams = super().discover_streams()
        for stream in streams:
            stream.selected_by_default = True
        return streams


# singer-sdk warns of fields that no record has, as optional ones may be.
@pytest.mark.filterwarnings("ignore:Fields in transformed catalog but not in records")
@pytest.mark.filterwarnings("ignore:No records were available to test")
class TestStandard(
    standard_tap_tests(
        EveryStream,
        "github",
        suite_config=SuiteConfig(max_records_limit=20),
        **SIZES,
        rate_limit=1_000_000,
    )
):
    """singer-sdk's own suite."""


def test_keeps_the_rules_of_every_connector() -> None:
    """All streams are read from the sandbox and are exactly what it holds."""
    config = {"requests_per_second": 500}
    options = {**SIZES, "rate_limit": 1_000_000}

    assert connector_conformance(TapGitHub, config=config, sandbox_options=options) == []


# -- the command line ---------------------------------------------------------------------------


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "GITHUB" not in name}
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, env={**kept, **variables}
    )


@pytest.fixture(scope="module")
def tiny() -> Iterator[SandboxUrl]:
    with running_sandbox("github", **SIZES, specials=False, rate_limit=1_000_000) as url:
        yield url


def test_discovers_without_configuration() -> None:
    catalog = json.loads(command("--discover").stdout)

    assert {one["tap_stream_id"] for one in catalog["streams"]} == {
        one.name for one in TapGitHub.spec.streams
    }


def test_tells_about_itself_without_secrets() -> None:
    about = json.loads(command("--about", "--format=json", GITHUB_TOKEN="not-to-be-seen").stdout)
    settings = about["settings"]["properties"]

    assert about["name"] == "tap-github"
    assert settings["auth_token"]["secret"] is True
    assert "not-to-be-seen" not in json.dumps(about)


@pytest.mark.parametrize("name", ["TAP_GITHUB_AUTH_TOKEN", "GITHUB_TOKEN"])
def test_takes_its_configuration_from_the_environment(name: str, tiny: SandboxUrl) -> None:
    variables = {
        name: TOKENS[1],
        "TAP_GITHUB_API_URL": str(tiny),
        "TAP_GITHUB_ORGANIZATIONS": json.dumps([ORGANIZATION]),
        "TAP_GITHUB_REQUESTS_PER_SECOND": "200",
    }
    done = command("--config=ENV", **variables)
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stderr
    assert kinds.count("RECORD") > 100
    assert kinds[-1] == "STATE"


def test_tests_the_connection(tiny: SandboxUrl, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny.config()))
    done = command("--test", "--config", str(config))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"auth_token": "wrong-one"}, 77, "not accepted"),
        ({"repositories": ["no-slash"]}, 78, "'no-slash'"),
        ({"app_id": "1"}, 78, "app_private_key"),
        ({"app_id": "1", "app_private_key": "no key"}, 78, "PEM"),
    ],
)
def test_ends_with_a_code_and_a_sentence(
    settings: dict[str, Any], code: int, words: str, tiny: SandboxUrl, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**tiny.config(), **settings}))
    done = command("--config", str(config))

    assert done.returncode == code
    assert words in done.stderr
    assert "wrong-one" not in done.stderr
    assert "Traceback" not in done.stderr


# -- signing in ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app_key() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"private": private.decode(), "public": public.decode()}


def as_app(url: SandboxUrl, key: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "api_url": url,
        "organizations": [ORGANIZATION],
        "requests_per_second": 500,
        "app_id": "4711",
        "app_private_key": key["private"],
        **more,
    }


@pytest.mark.parametrize("installation", [{}, {"installation_id": "4242"}])
def test_signs_in_as_an_app(installation: dict[str, str], app_key: dict[str, str]) -> None:
    options = {**SIZES, "app_public_key": app_key["public"]}
    with running_sandbox("github", **options, specials=False) as url:
        run = run_tap(TapGitHub, as_app(url, app_key, **installation), select=["labels"])

    assert len(run.records["labels"]) == 6
    assert "ghs_" not in run.stderr


def test_renews_the_apps_token_when_it_has_ended(app_key: dict[str, str]) -> None:
    options = {**SIZES, "app_public_key": app_key["public"], "installation_token_seconds": 1}
    with running_sandbox("github", **options, latency_ms=100) as url:
        config = as_app(url, app_key, concurrency=1)
        run = run_tap(TapGitHub, config, select=["labels", "tags", "workflows"])
        tokens = url.stats()["routes"]["POST /app/installations/{installation}/access_tokens"]

        assert len(run.records["labels"]) == len(url.records("labels")) - 6  # not the person's
    assert tokens["requests"] > 1


def test_an_unknown_app_is_told_so(tiny: SandboxUrl, app_key: dict[str, str]) -> None:
    with pytest.raises(CredentialsError):
        run_tap(TapGitHub, as_app(tiny, app_key), select=["labels"])


def test_several_tokens_share_the_quota() -> None:
    options = {**SIZES, "pulls_per_repo": 25, "specials": False, "rate_limit": 20}
    with running_sandbox("github", **options) as url:
        config = {**url.config(), "requests_per_second": 500, "max_wait_seconds": 1}
        config |= {"concurrency": 1, "additional_auth_tokens": list(TOKENS[1:])}
        run = run_tap(TapGitHub, config, select=["reviews", "labels", "tags", "commits", "issues"])

        assert len(run.records["reviews"]) == len(url.records("reviews"))
        assert url.stats()["requests"] > 20


def test_a_repository_needs_an_owner() -> None:
    with pytest.raises(ConfigurationError, match="'octokit'"):
        run_tap(TapGitHub, {"repositories": ["octokit"], "api_url": "http://127.0.0.1:9"})
