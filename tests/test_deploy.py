# SPDX-License-Identifier: Apache-2.0
"""What deploy/ and compose.yaml say is true of the program they run."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
OPERATE = ROOT / "docs" / "operate.md"
BIN = Path(sys.executable).parent


def documents() -> list[dict[str, Any]]:
    texts = [path.read_text("utf-8") for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def manifests(*kinds: str) -> list[Any]:
    found = [document for document in documents() if document["kind"] in kinds]
    return [pytest.param(one, id=f"{one['kind']} {one['metadata']['name']}") for one in found]


def services() -> dict[str, dict[str, Any]]:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return {name: one for name, one in compose["services"].items() if name != "database"}


def program(*arguments: str) -> list[str]:
    """What a container of the image runs, here."""
    return [str(BIN / "ipai"), *arguments]


STANDARD = (
    *("Namespace", "ServiceAccount", "NetworkPolicy", "Job", "Deployment", "PodDisruptionBudget"),
)


@pytest.mark.parametrize("manifest", manifests(*STANDARD))
def test_kubernetes_takes_the_manifest(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_every_kind_of_manifest_is_validated_or_belongs_to_an_extension() -> None:
    others = {one["kind"]: one["apiVersion"] for one in documents() if one["kind"] not in STANDARD}
    assert others == {
        "Kustomization": "kustomize.config.k8s.io/v1beta1",
        "ScaledObject": "keda.sh/v1alpha1",
        "TriggerAuthentication": "keda.sh/v1alpha1",
    }


def test_the_kustomization_names_every_manifest() -> None:
    [kustomization] = [one for one in documents() if one["kind"] == "Kustomization"]
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


@pytest.mark.parametrize("manifest", manifests("Job", "Deployment"))
def test_a_pod_may_nothing_that_it_does_not_need(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == "ipai"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("manifest", manifests("Job", "Deployment"))
def test_the_program_knows_what_a_pod_runs(manifest: dict[str, Any]) -> None:
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    probe = container.get("livenessProbe", {}).get("exec", {}).get("command", ["ipai"])
    for arguments in (container["args"], probe[1:]):
        assert subprocess.run([*program(*arguments), "--help"], capture_output=True).returncode == 0


def longest_end(arguments: list[str]) -> float:
    """The drain timeout, and what stopping a sync takes after it."""
    if "worker" not in arguments:
        return 0
    stopping = re.search(r"Stopping a sync takes up to (\d+) s more", OPERATE.read_text("utf-8"))
    assert stopping
    return float(arguments[arguments.index("--drain-timeout") + 1]) + float(stopping[1])


@pytest.mark.parametrize("service", services())
def test_a_container_has_longer_to_end_than_its_runs_to_drain(service: str) -> None:
    about = services()[service]
    grace = about.get("stop_grace_period", "10s").removesuffix("s")
    assert float(grace) >= longest_end(about["command"])


@pytest.mark.parametrize("manifest", manifests("Deployment"))
def test_a_pod_has_longer_to_end_than_its_runs_to_drain(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert pod["terminationGracePeriodSeconds"] >= longest_end(arguments)


def test_the_compose_file_is_one() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(ROOT / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_gives_every_variable_that_compose_needs() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text("utf-8")))
    given = re.findall(r"^([A-Z_]+)=", (DEPLOY / "env.example").read_text("utf-8"), re.MULTILINE)
    assert wanted <= set(given)
    assert "IPAI_DATABASE_URL" in given


@pytest.mark.parametrize("name", services())
def test_a_service_of_compose_is_confined_and_can_be_multiplied(name: str) -> None:
    service = services()[name]
    assert (service["user"], service["read_only"]) == ("10001:10001", True)
    assert (service["cap_drop"], "container_name" in service) == (["ALL"], False)


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A server of its own for this module, empty as a new container's is."""
    home = Path(tempfile.mkdtemp(prefix="ipai-deploy-"))
    home.chmod(0o711)
    environment = {**os.environ, "IPAI_HOME": str(home)}
    environment.pop("IPAI_DATABASE_URL", None)

    def db(*arguments: str) -> str:
        done = subprocess.run(
            program("db", *arguments), env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    db("start")
    try:
        yield db("url")
    finally:
        db("stop")
        shutil.rmtree(home)


@pytest.mark.slow
def test_what_compose_starts_becomes_healthy(database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "IPAI_DATABASE_URL": database_url, "IPAI_HOME": str(tmp_path)}
    found = services()
    migrated = subprocess.run(program(*found["migrate"]["command"]), env=environment)
    assert migrated.returncode == 0
    commands = [one["command"] for name, one in found.items() if name != "migrate"]
    running = [
        subprocess.Popen(program(*command), env=environment, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        for one in found.values():
            if "healthcheck" in one:
                wait_until_healthy(one["healthcheck"]["test"][2:], environment)
        assert [process.poll() for process in running] == [None] * len(running)
    finally:
        for process in running:
            process.terminate()
    assert [process.wait(60) for process in running] == [0] * len(running)


def wait_until_healthy(command: list[str], environment: dict[str, str]) -> None:
    for _ in range(120):
        if subprocess.run(program(*command), env=environment, capture_output=True).returncode == 0:
            return
        time.sleep(0.5)
    pytest.fail(f"Never healthy: {command}")


def test_the_scaler_counts_with_no_more_than_an_operators_rights(database_url: str) -> None:
    [scaled] = [one for one in documents() if one["kind"] == "ScaledObject"]
    [trigger] = scaled["spec"]["triggers"]
    environment = {**os.environ, "IPAI_DATABASE_URL": database_url}
    subprocess.run(program("db", "migrate"), env=environment, check=True, capture_output=True)

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role ipai_operator")
        row = connection.execute(trigger["metadata"]["query"]).fetchone()

    assert row == (0,)


# --- the image, built for real ---------------------------------------------------------------

STORAGE = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def buildah(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["buildah", *arguments]
    return subprocess.run(command, env=STORAGE, capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image, on a base made from Debian's packages: no registry is asked."""
    if os.geteuid() != 0 or not (shutil.which("buildah") and shutil.which("mmdebstrap")):
        pytest.skip("Building the image needs root, buildah and mmdebstrap.")
    archive = str(tmp_path_factory.mktemp("base") / "base.tar")
    packages = "--include=python3-minimal,python3-venv,ca-certificates"
    base = subprocess.run(
        ["mmdebstrap", "--variant=minbase", packages, "bookworm", archive],
        capture_output=True,
        text=True,
    )
    if base.returncode:
        pytest.skip(f"No base image can be made here: {base.stderr[-200:]}")
    scratch = buildah("from", "scratch").stdout.strip()
    buildah("add", "--quiet", scratch, archive, "/")
    buildah("commit", "--quiet", "--rm", scratch, "localhost/ipai-base:test")
    Path(archive).unlink()
    options = ["--build-arg", "BASE=localhost/ipai-base:test", "--file", "deploy/Dockerfile"]
    for file in ("/etc/pip.conf", CERTIFICATES):
        if Path(file).exists():
            options += ["--volume", f"{file}:{file}:ro"]
    options += ["--build-arg", f"SSL_CERT_FILE={CERTIFICATES}"]
    packages = "./orchestrate ./taps/tap-github ./targets/target-bronze-postgres"
    options += ["--build-arg", f"PACKAGES={packages}", "--tag", "localhost/ipai:test"]
    done = buildah("bud", *options, str(ROOT), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    name = buildah("from", "--pull-never", "localhost/ipai:test").stdout.strip()
    yield name
    buildah("rm", name)
    buildah("rmi", "--force", "localhost/ipai:test", "localhost/ipai-base:test")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_image_runs_the_program_and_its_connectors_without_rights(container: str) -> None:
    def run(*command: str) -> str:
        return buildah("run", container, "--", *command).stdout

    assert re.fullmatch(r"ipai [0-9.]+\n", run("ipai", "--version"))
    assert run("id", "--user") == "10001\n"
    assert '"name": "tap-github"' in run("tap-github", "--about", "--format", "json")
    assert "target-bronze-postgres" in run("target-bronze-postgres", "--about")
    refused = buildah("run", container, "--", "touch", "/opt/ipai/written", check=False)
    assert "Permission denied" in refused.stderr
