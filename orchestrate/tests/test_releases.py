# SPDX-License-Identifier: Apache-2.0
"""From reviewed files to the database, from staging to production, and back again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ipai_kit.spec import InstalledConnector
from ipai_orchestrate.cli import main
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ConflictError,
    DeclarationError,
    NotFoundError,
    RefusedError,
)
from ipai_orchestrate.instances import save_instance
from ipai_orchestrate.releases import Plan, ReleaseRegister, apply_declared, read_declared
from ipai_orchestrate.releases.applying import ApplyOptions
from ipai_orchestrate.releases.instance_file import instance_schema
from ipai_orchestrate.releases.plan import FieldChange, differences

Connection = psycopg.Connection[tuple[Any, ...]]
ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
spec_version: 1
name: ipai_connector_demo
source_type: demo
title: Demo
domain: core
api: {version: "1", docs_url: https://docs.example.com, sunset: null,
      base_urls: [https://api.example.com]}
tos: {url: https://example.com/terms, reviewed_at: 2026-11-01}
auth: {methods: [{type: bearer, settings: [auth_token]}]}
sync_mode: incremental
schedule: "17 * * * *"
quota: {requests_per_second: 5}
settings:
  auth_token: {type: string, secret: true, description: The token.}
  places: {type: array, items: {type: string}, description: What to read.}
  region: {type: string, required: true, description: Where the account is.}
streams:
  - {name: things, cursor: id, description: One thing.}
"""
FASTER = SPEC.replace("requests_per_second: 5", "requests_per_second: 9")
INSTANCE = """\
instance: demo-one
connector: demo
env: dev
schedule: "5 * * * *"
config:
  auth_token: ${DEMO_TOKEN}
  region: eu
  places: [a, b]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reviewed folder: one connector, one instance."""
    write(tmp_path, "taps/tap-demo/tap_demo/connector.yaml", SPEC)
    write(tmp_path, "instances/demo-one.yaml", INSTANCE)
    write(tmp_path, "transform/dbt_project.yaml", "name: not ours")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def instance(env: str, instance_id: str | None = None, **changes: str) -> str:
    text = INSTANCE.replace("demo-one", instance_id or f"demo-{env}")
    text = text.replace("env: dev", f"env: {env}")
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


@pytest.fixture
def apply(connection: Connection, folder: Path) -> Callable[..., Plan]:
    """Return a function that applies the folder."""

    def run(**options: Any) -> Plan:
        chosen = ApplyOptions(**options)
        return apply_declared(connection, read_declared([folder], chosen.env), chosen)

    return run


@pytest.fixture
def register(connection: Connection) -> ReleaseRegister:
    return ReleaseRegister(connection)


def actions(plan: Plan) -> dict[str, str]:
    return {one.name: one.action for one in plan.changes}


def succeed(plane: ControlPlane, instance_id: str, cursor: int = 1) -> Any:
    run = plane.claim(plane.enqueue(instance_id), "worker")
    assert run is not None
    plane.save_state(run, {"bookmarks": {"things": {"replication_key_value": cursor}}})
    plane.complete(run)
    return run.id


# -- apply -------------------------------------------------------------------------------------


def test_a_plan_changes_nothing_and_applying_it_twice_changes_nothing_more(
    apply: Callable[..., Plan], control_plane: ControlPlane
) -> None:
    planned = apply(plan_only=True)
    assert control_plane.instances() == []
    applied = apply()
    again = apply()

    assert actions(planned) == {"ipai_connector_demo": "create", "demo-one": "create"}
    assert applied == planned
    assert actions(again) == {"ipai_connector_demo": "none", "demo-one": "none"}
    assert again.is_empty
    (live,) = control_plane.instances()
    assert (live.id, live.env, live.schedule, live.status) == (
        "demo-one",
        "dev",
        "5 * * * *",
        "active",
    )


PIPELINE = """\
pipeline: nightly
trigger: {schedule: "30 5 * * *", timezone: UTC}
steps:
  one: {instance: demo-one}
"""


def test_pipelines_are_applied_with_what_they_run(
    apply: Callable[..., Plan], folder: Path, connection: Connection
) -> None:
    write(folder, "pipelines/nightly.yaml", PIPELINE)
    kept = "select name, version from connectors.pipelines"

    assert actions(apply(plan_only=True))["nightly"] == "create"
    assert connection.execute(kept).fetchall() == []
    assert apply(env="dev").count("create") == 2
    assert actions(apply())["nightly"] == "create"
    assert connection.execute(kept).fetchall() == [("nightly", 1)]
    assert apply().is_empty
    write(folder, "pipelines/nightly.yaml", PIPELINE.replace("30 5", "45 5"))
    planned = apply(plan_only=True)
    assert actions(planned)["nightly"] == "change"
    (changed,) = [one for one in planned.changes if one.kind == "pipeline"]
    assert changed.fields == (FieldChange("trigger.schedule", "30 5 * * *", "45 5 * * *"),)
    assert actions(apply())["nightly"] == "change"
    (folder / "pipelines/nightly.yaml").unlink()
    for plan_only in (True, False):
        assert actions(apply(plan_only=plan_only))["nightly"] == "undeclared"
    write(folder, "pipelines/nightly.yaml", PIPELINE)
    write(folder, "pipelines/again.yaml", PIPELINE)
    with pytest.raises(DeclarationError, match="'nightly' is declared in another file too"):
        apply()
    write(folder, "pipelines/again.yaml", PIPELINE.replace("steps", "stops"))
    with pytest.raises(DeclarationError, match=r"pipelines/again\.yaml"):
        apply()


def test_what_differs_is_shown_field_by_field(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    apply()
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    text = INSTANCE.replace("[a, b]", "[a]").replace('"5 * * * *"', "default")
    write(folder, "instances/demo-one.yaml", text + "status: paused\n")
    plan = apply(plan_only=True)
    shown = {one.name: one.fields for one in plan.changes}

    assert shown == {
        "ipai_connector_demo": (FieldChange("quota.requests_per_second", 5.0, 9.0),),
        "demo-one": (
            FieldChange("config.places", ["a", "b"], ["a"]),
            FieldChange("schedule", "5 * * * *", "default"),
            FieldChange("status", "active", "paused"),
            FieldChange("definition_version", 1, 2),
        ),
    }
    apply()
    assert apply().is_empty
    assert control_plane.instances()[0].status == "paused"
    assert [one.definition_version for one in register.releases("demo-one")] == [2, 1]


def test_drift_made_by_hand_is_shown_and_taken_back(
    apply: Callable[..., Plan], control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    apply()
    control_plane.ensure_instance("demo-one", "ipai_connector_demo", {"region": "us"}, "dev", None)
    plan = apply(plan_only=True)

    assert [(one.path, one.live, one.declared) for one in plan.changes[1].fields] == [
        ("config.auth_token", None, "${DEMO_TOKEN}"),
        ("config.places", None, ["a", "b"]),
        ("config.region", "us", "eu"),
        ("schedule", None, "5 * * * *"),
    ]
    apply()
    assert register.instances()["demo-one"].config["region"] == "eu"


def test_a_changed_comment_is_a_version_too_and_is_said_to_be_no_more(
    apply: Callable[..., Plan], folder: Path
) -> None:
    apply()
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", SPEC + "# reviewed\n")
    change = apply().changes[0]

    assert (change.action, change.fields) == ("change", ())
    assert change.note == "version 1 -> 2, text only"


def test_only_the_instances_of_an_environment_are_applied_when_one_is_named(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane
) -> None:
    write(folder, "instances/staging.yaml", instance("staging"))
    plan = apply(env="staging")

    assert actions(plan) == {"ipai_connector_demo": "create", "demo-staging": "create"}
    assert [one.id for one in control_plane.instances()] == ["demo-staging"]


def test_what_is_declared_no_more_is_told_and_paused_when_asked(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    write(folder, "instances/two.yaml", instance("dev", "demo-two"))
    apply()
    control_plane.ensure_instance("by-hand", "ipai_connector_demo", {"region": "eu"})
    (folder / "instances/two.yaml").unlink()
    told = apply()
    pruned = apply(prune=True)

    assert actions(told) | {"demo-two": "undeclared", "by-hand": "undeclared"} == actions(told)
    assert told.is_empty
    assert actions(pruned) | {"demo-two": "disable", "by-hand": "undeclared"} == actions(pruned)
    statuses = {one.id: one.status for one in control_plane.instances()}
    assert statuses == {"by-hand": "active", "demo-one": "active", "demo-two": "paused"}
    assert actions(apply(prune=True))["demo-two"] == "undeclared"
    assert register.instances()["demo-two"].declared_in is None


def test_everything_is_applied_or_nothing(
    apply: Callable[..., Plan], folder: Path, connection: Connection, control_plane: ControlPlane
) -> None:
    write(folder, "instances/zzz.yaml", instance("dev", "zzz"))
    connection.execute(
        "create function refuse_zzz() returns trigger language plpgsql as"
        " $$begin raise exception 'no room'; end$$;"
        "create trigger refuse_zzz before insert on connectors.connector_instances"
        " for each row when (new.id = 'zzz') execute function refuse_zzz()"
    )
    with pytest.raises(Exception, match="no room"):
        apply()

    assert control_plane.instances() == []
    assert connection.execute("select from connectors.connector_definitions").fetchall() == []


def test_two_who_apply_at_once_do_it_one_after_the_other(
    folder: Path, database: str, register: ReleaseRegister
) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            with psycopg.connect(database, autocommit=True) as own:
                apply_declared(own, read_declared([folder]), ApplyOptions())
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(register.releases("demo-one")) == 1
    assert register.definitions()["ipai_connector_demo"].version == 1


def test_a_registered_connector_needs_no_file(
    apply: Callable[..., Plan], folder: Path, register: ReleaseRegister
) -> None:
    apply()
    (folder / "taps/tap-demo/tap_demo/connector.yaml").unlink()

    assert apply().is_empty


def test_an_installed_connector_is_taken_as_it_is_installed(
    connection: Connection, tmp_path: Path, register: ReleaseRegister
) -> None:
    text = "instance: gh\nconnector: github\nconfig: {repositories: [acme/api]}\n"
    write(tmp_path, "instances/gh.yaml", text)
    plan = apply_declared(connection, read_declared([tmp_path]), ApplyOptions())

    assert actions(plan) == {"ipai_connector_github": "create", "gh": "create"}


MISTAKES: list[tuple[str, str, str]] = [
    (
        INSTANCE.replace("region: eu", "regoin: eu"),
        "7:11",
        "no setting 'regoin'. Did you mean 'region'",
    ),
    (
        INSTANCE.replace("  region: eu\n", ""),
        "6:3",
        "Setting 'region' is missing. Where the account",
    ),
    (INSTANCE.replace("[a, b]", "a"), "8:11", "Setting 'places' does not fit: 'a' is not of type"),
    (INSTANCE.replace("${DEMO_TOKEN}", "s3cret-value"), "6:15", "'auth_token' holds a secret"),
    (INSTANCE.replace("5 * * * *", "61 * * * *"), "4:11", "61"),
    (
        INSTANCE.replace("connector: demo", "connector: unheard_of"),
        "2:12",
        "not installed and not registered",
    ),
    (
        INSTANCE.replace("env: dev", "stauts: active"),
        "3:1",
        "Unknown key 'stauts'. Did you mean 'status'",
    ),
    (
        INSTANCE.replace("instance: demo-one\n", ""),
        "1:1",
        "Key 'instance' is missing. Use up to 63",
    ),
    (
        INSTANCE.replace("demo-one", "Demo One"),
        "1:11",
        "'Demo One' cannot be used here. Use up to 63",
    ),
    (INSTANCE + "status: broken\n", "9:9", "'broken' cannot be used here. Use active or paused"),
    (INSTANCE.replace("region: eu", "region: [eu"), "", "cannot be read here"),
    ("  \n", "1:1", "The file is empty"),
    ("just text\n", "1:1", "cannot be used here. Write keys and values"),
]


@pytest.mark.parametrize(("text", "place", "words"), MISTAKES)
def test_a_mistake_is_told_with_its_place_and_nothing_is_applied(
    apply: Callable[..., Plan],
    folder: Path,
    control_plane: ControlPlane,
    text: str,
    place: str,
    words: str,
) -> None:
    write(folder, "instances/demo-one.yaml", text)
    with pytest.raises(DeclarationError) as refusal:
        apply()

    said = str(refusal.value)
    assert f"instances/demo-one.yaml:{place}" in said
    assert words in said
    assert "s3cret-value" not in said
    assert control_plane.instances() == []


def test_files_that_contradict_each_other_or_what_is_live_are_refused(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane
) -> None:
    apply()
    write(folder, "instances/copy.yaml", INSTANCE)
    with pytest.raises(DeclarationError, match=r"'instances/.*' too"):
        apply()
    (folder / "instances/copy.yaml").unlink()
    write(folder, "other/connector.yaml", FASTER)
    with pytest.raises(
        DeclarationError, match=r"'demo' is declared in 'other/connector\.yaml' too"
    ):
        apply()
    (folder / "other/connector.yaml").unlink()
    write(folder, "instances/demo-one.yaml", instance("staging", "demo-one"))
    with pytest.raises(DeclarationError, match="exists with env 'dev' and keeps it"):
        apply()
    write(folder, "instances/demo-one.yaml", INSTANCE)
    control_plane.set_instance_status("demo-one", "archived")
    with pytest.raises(DeclarationError, match="archived for good"):
        apply()
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", SPEC.replace("core", "nowhere"))
    with pytest.raises(DeclarationError, match="nowhere"):
        apply()


def test_a_file_that_is_not_text_is_told(folder: Path) -> None:
    (folder / "instances/latin.yaml").write_bytes(b"instance: caf\xe9\n")

    with pytest.raises(DeclarationError, match="not UTF-8 at byte 13"):
        read_declared([folder])


def test_what_cannot_be_found_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_declared([tmp_path / "nowhere"])
    with pytest.raises(ConfigurationError, match=r"holds no connector\.yaml"):
        read_declared([tmp_path])


def test_hidden_folders_are_left_alone_and_single_files_are_known_by_content(folder: Path) -> None:
    write(folder, ".venv/connector.yaml", "broken: [")
    write(folder, "demo.yaml", "# reviewed\n" + SPEC)
    whole = read_declared([folder])
    single = read_declared([folder / "demo.yaml", folder / "instances/demo-one.yaml"])
    inside = read_declared([folder / "instances"])

    assert (set(whole.specs), set(whole.instances)) == ({"demo"}, {"demo-one"})
    assert (set(single.specs), set(single.instances)) == ({"demo"}, {"demo-one"})
    assert inside.instances["demo-one"].file == "demo-one.yaml"


def test_the_published_schema_is_the_one_that_is_used() -> None:
    published = ROOT / "schemas" / "instance.schema.json"

    assert json.loads(published.read_text(encoding="utf-8")) == instance_schema()


def test_lists_of_named_things_are_compared_by_name() -> None:
    live = {"streams": [{"name": "a", "x": 1}, {"name": "b"}], "n": [1]}
    declared = {"streams": [{"name": "b"}, {"name": "a", "x": 2}], "n": [1, 2]}

    assert list(differences(live, declared)) == [
        FieldChange("n", [1], [1, 2]),
        FieldChange("streams.a.x", 1, 2),
    ]


# -- promotion ---------------------------------------------------------------------------------


@pytest.fixture
def staged(apply: Callable[..., Plan], folder: Path) -> None:
    """Instances in staging and production, declared; production is a draft."""
    write(folder, "instances/staging.yaml", instance("staging"))
    write(folder, "instances/production.yaml", instance("production"))
    apply()


def test_production_is_a_draft_until_a_promotion_after_a_success_in_staging(
    staged: None,
    apply: Callable[..., Plan],
    control_plane: ControlPlane,
    register: ReleaseRegister,
) -> None:
    live = register.instances()["demo-production"]
    assert (live.status, live.definition_version) == ("draft", 1)
    assert apply().is_empty
    for instance_id in ("demo-staging", "demo-production"):
        with pytest.raises(ConflictError, match="Version 1 of 'ipai_connector_demo' has not"):
            register.promote(instance_id)
    proof = succeed(control_plane, "demo-staging")
    done = register.promote("demo-staging")

    assert (done.id, done.version, done.created, done.proof_run_id) == (
        "demo-production",
        1,
        False,
        proof,
    )
    assert register.instances()["demo-production"].status == "active"
    assert register.releases("demo-production")[0].proof_run_id == proof
    assert apply().is_empty


def test_a_new_version_reaches_production_by_promotion_only(
    staged: None,
    folder: Path,
    apply: Callable[..., Plan],
    control_plane: ControlPlane,
    register: ReleaseRegister,
) -> None:
    succeed(control_plane, "demo-staging")
    register.promote("demo-staging")
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    plan = apply()
    versions = {one.id: one.definition_version for one in register.instances().values()}
    assert versions == {"demo-one": 2, "demo-production": 1, "demo-staging": 2}
    notes = {one.name: one.note for one in plan.changes}
    assert notes["demo-production"] == "production, stays at version 1 of 2 until it is promoted"
    with pytest.raises(ConflictError, match="Version 2"):
        register.promote("demo-staging")
    with pytest.raises(ConflictError, match="Version 2"):
        register.promote("demo-production")
    succeed(control_plane, "demo-one", 7)  # dev is no staging
    with pytest.raises(ConflictError, match="Version 2"):
        register.promote("demo-staging")

    succeed(control_plane, "demo-staging", 2)
    done = register.promote("demo-production")
    again = register.promote("demo-staging")
    assert (done.previous_version, done.version) == (1, 2)
    assert (again.previous_version, again.version) == (2, 2)
    reasons = [one.reason for one in register.releases("demo-production")]
    assert reasons == ["promoted", "created"]


def test_no_other_door_leads_to_production(
    staged: None, control_plane: ControlPlane, connection: Connection, register: ReleaseRegister
) -> None:
    with pytest.raises(ConflictError, match="has not succeeded in staging"):
        control_plane.set_instance_status("demo-production", "active")
    with pytest.raises(ConflictError, match="has not succeeded in staging"):
        control_plane.ensure_instance("p", "ipai_connector_demo", {"region": "eu"}, "production")
    with pytest.raises(psycopg.Error, match="has not succeeded in staging"):
        connection.execute(
            "update connectors.connector_instances set status = 'active' where env = 'production'"
        )

    assert register.instances()["demo-production"].status == "draft"


def test_settings_change_in_production_while_the_version_stays(
    staged: None,
    folder: Path,
    control_plane: ControlPlane,
    register: ReleaseRegister,
) -> None:
    """A newer connector was installed meanwhile: its spec is registered and waits for a proof."""
    succeed(control_plane, "demo-staging")
    register.promote("demo-staging")
    write(folder, "newer.yaml", FASTER)
    newer = InstalledConnector("demo", "tap-demo", "demo", folder / "newer.yaml")
    config = {"region": "us"}
    save_instance(control_plane, "demo-production", newer, config, env="production")
    live = register.instances()["demo-production"]

    assert (live.config, live.definition_version) == (config, 1)
    assert register.definitions()["ipai_connector_demo"].version == 2
    with pytest.raises(ConflictError, match="Version 2"):
        save_instance(control_plane, "another", newer, config, env="production")


def test_a_proof_is_for_the_text_of_the_spec_and_grows_old(
    staged: None,
    folder: Path,
    apply: Callable[..., Plan],
    control_plane: ControlPlane,
    connection: Connection,
    register: ReleaseRegister,
) -> None:
    succeed(control_plane, "demo-staging")
    for text in (FASTER, SPEC):  # the old text comes back as version 3
        write(folder, "taps/tap-demo/tap_demo/connector.yaml", text)
        apply()
    assert register.promote("demo-staging").version == 3

    connection.execute(
        "alter table connectors.connector_runs disable trigger connector_runs_change;"
        "update connectors.connector_runs set ended_at = ended_at - interval '31 days',"
        " started_at = started_at - interval '31 days';"
        "delete from connectors.instance_releases where instance_id = 'demo-production'"
    )
    with pytest.raises(ConflictError, match="within 30 days"):
        register.promote("demo-staging", "production", "demo-other")


def test_a_promotion_creates_what_is_not_there_and_names_it(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    apply()
    staging = register.promote("demo-one", "staging")
    assert (staging.id, staging.created, staging.proof_run_id) == ("demo-one-staging", True, None)
    succeed(control_plane, "demo-one-staging")
    assert register.promote("demo-one-staging").id == "demo-one-production"
    assert register.promote("demo-one-staging", "production", "live").created
    live = register.instances()["live"]
    assert (live.config["region"], live.schedule, live.status) == ("eu", "5 * * * *", "active")


def test_promotions_that_make_no_sense_are_refused(
    staged: None, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    succeed(control_plane, "demo-staging")
    with pytest.raises(ConflictError, match="in environment 'dev', not in staging"):
        register.promote("demo-one")
    with pytest.raises(NotFoundError):
        register.promote("nobody")
    with pytest.raises(RefusedError, match="'No Name' is not a name"):
        register.promote("demo-staging", "No Name")
    with pytest.raises(ConflictError, match="exists as ipai_connector_demo in environment 'dev'"):
        register.promote("demo-staging", "production", "demo-one")
    control_plane.set_instance_status("demo-production", "archived")
    with pytest.raises(ConflictError, match="is archived"):
        register.promote("demo-staging")
    with pytest.raises(ConflictError, match="is archived"):
        register.promote("demo-production", "staging")


# -- rollback ----------------------------------------------------------------------------------


@pytest.fixture
def moved_on(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane
) -> Callable[[], int]:
    """Version 1 has read to 10 and version 2, with other settings, to 20; where the state is."""
    apply()
    succeed(control_plane, "demo-one", 5)
    succeed(control_plane, "demo-one", 10)
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    write(folder, "instances/demo-one.yaml", INSTANCE.replace("[a, b]", "[c]"))
    apply()
    succeed(control_plane, "demo-one", 20)

    def cursor() -> int:
        stored = control_plane.state_get("demo-one")
        assert stored is not None
        bookmarks = stored.state_json.get("bookmarks", {})
        return int(bookmarks["things"]["replication_key_value"]) if bookmarks else 0

    return cursor


def test_a_rollback_restores_version_settings_and_state_and_can_be_taken_back(
    moved_on: Callable[[], int], register: ReleaseRegister, control_plane: ControlPlane
) -> None:
    done = register.rollback("demo-one")
    live = register.instances()["demo-one"]

    assert (done.previous_version, done.version, done.restored_release) == (2, 1, 1)
    assert (live.definition_version, live.config["places"], moved_on()) == (1, ["a", "b"], 10)
    assert control_plane.state_history("demo-one")[0].reason == "rollback"
    run = control_plane.claim(control_plane.enqueue("demo-one"), "worker")
    assert run is not None
    assert (run.definition_version, run.spec["quota"]["requests_per_second"]) == (1, 5)
    control_plane.complete(run, state={"bookmarks": {"things": {"replication_key_value": 15}}})

    register.rollback("demo-one", 2)
    assert register.instances()["demo-one"].config["places"] == ["c"]
    assert moved_on() == 20
    reasons = [one.reason for one in register.releases("demo-one")]
    assert reasons == ["rolled_back", "rolled_back", "changed", "created"]


def test_a_change_of_settings_alone_is_gone_back_on_by_its_release(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    apply()
    succeed(control_plane, "demo-one", 10)
    write(folder, "instances/demo-one.yaml", INSTANCE.replace("[a, b]", "[c]"))
    apply()
    succeed(control_plane, "demo-one", 20)
    with pytest.raises(NotFoundError, match="a release with other settings"):
        register.rollback("demo-one")
    done = register.rollback("demo-one", to_release=1)
    stored = control_plane.state_get("demo-one")

    assert (done.previous_version, done.version, done.restored_release) == (1, 1, 1)
    assert register.instances()["demo-one"].config["places"] == ["a", "b"]
    assert stored is not None
    assert stored.state_json["bookmarks"]["things"]["replication_key_value"] == 10
    with pytest.raises(ConflictError, match="runs with what release 1 has"):
        register.rollback("demo-one", to_release=1)
    with pytest.raises(NotFoundError, match="no release 9"):
        register.rollback("demo-one", to_release=9)


def test_a_rollback_can_leave_the_state(
    moved_on: Callable[[], int], register: ReleaseRegister
) -> None:
    done = register.rollback("demo-one", keep_state=True)

    assert (done.version, done.state_version, moved_on()) == (1, None, 20)


def test_a_rollback_to_before_the_first_state_starts_over(
    apply: Callable[..., Plan],
    folder: Path,
    control_plane: ControlPlane,
    register: ReleaseRegister,
) -> None:
    apply()
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    apply()
    succeed(control_plane, "demo-one", 20)
    register.rollback("demo-one")
    stored = control_plane.state_get("demo-one")

    assert stored is not None
    assert stored.state_json == {}


def test_a_state_that_was_overwritten_by_its_run_gives_the_one_before(
    apply: Callable[..., Plan], folder: Path, control_plane: ControlPlane, register: ReleaseRegister
) -> None:
    """A release in the middle of a run: the run's state of that moment is not kept."""
    apply()
    succeed(control_plane, "demo-one", 5)
    run = control_plane.claim(control_plane.enqueue("demo-one"), "worker")
    assert run is not None
    control_plane.save_state(run, {"bookmarks": {"things": {"replication_key_value": 8}}})
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    apply()
    with pytest.raises(ConflictError, match="active run"):
        register.rollback("demo-one")
    control_plane.save_state(run, {"bookmarks": {"things": {"replication_key_value": 9}}})
    control_plane.complete(run)
    register.rollback("demo-one")
    stored = control_plane.state_get("demo-one")

    assert stored is not None
    assert stored.state_json["bookmarks"]["things"]["replication_key_value"] == 5


def test_a_rollback_that_leads_nowhere_is_refused(
    moved_on: Callable[[], int],
    register: ReleaseRegister,
    connection: Connection,
    control_plane: ControlPlane,
) -> None:
    with pytest.raises(
        NotFoundError, match=r"has not run with version 7 before.*releases had: 1, 2"
    ):
        register.rollback("demo-one", 7)
    with pytest.raises(NotFoundError):
        register.rollback("nobody")
    connection.execute(
        "update connectors.connector_definitions set enabled = false where version = 1"
    )
    with pytest.raises(ConflictError, match="Version 1 of 'ipai_connector_demo' is disabled"):
        register.rollback("demo-one")
    control_plane.set_instance_status("demo-one", "archived")
    with pytest.raises(ConflictError, match="archived"):
        register.rollback("demo-one")


def test_production_goes_back_to_what_it_had_without_a_new_proof(
    staged: None,
    folder: Path,
    apply: Callable[..., Plan],
    control_plane: ControlPlane,
    connection: Connection,
    register: ReleaseRegister,
) -> None:
    succeed(control_plane, "demo-staging")
    register.promote("demo-staging")
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    apply()
    succeed(control_plane, "demo-staging", 2)
    register.promote("demo-staging")
    connection.execute(
        "alter table connectors.connector_runs disable trigger connector_runs_change;"
        "update connectors.connector_runs set ended_at = ended_at - interval '99 days',"
        " started_at = started_at - interval '99 days'"
    )

    assert register.rollback("demo-production").version == 1


# -- the commands ------------------------------------------------------------------------------


def test_the_commands_tell_what_they_do(
    folder: Path, database: str, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_DATABASE_URL", database)

    def ipai(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, [str(one) for one in arguments])
        assert code == done.exit_code, done.output
        return done.output

    write(folder, "instances/staging.yaml", instance("staging"))
    planned = ipai("apply", folder, "--plan", "--exit-code", code=1)
    assert "+ definition ipai_connector_demo (version 1)" in planned
    assert "Plan: 3 to create, 0 to change, 0 to disable, 0 as declared." in planned
    assert "Applied: 3 created, 0 changed" in ipai("apply", folder)
    assert json.loads(ipai("apply", folder, "--plan", "--exit-code", "--json"))["applied"] is False
    write(folder, "taps/tap-demo/tap_demo/connector.yaml", FASTER)
    (folder / "instances/demo-one.yaml").unlink()
    planned = ipai("apply", folder, "--plan", "--prune")
    assert "quota.requests_per_second: 5.0 -> 9.0" in planned
    assert "- instance demo-one (was in instances/demo-one.yaml)" in planned
    assert "? instance demo-one is in no file" in ipai("apply", folder)
    assert "paused" in ipai("apply", folder, "--prune")
    assert "? instance demo-one is in no file (dev, paused)" in ipai("apply", folder, "--plan")
    assert "until it is promoted" not in planned
    assert "--exit-code is for --plan" in ipai("apply", folder, "--exit-code", code=78)

    assert "has not succeeded in staging" in ipai("promote", "demo-staging", code=78)
    succeed(control_plane, "demo-staging")
    assert "Created demo-production in production with version 2. Proven by run" in ipai(
        "promote", "demo-staging"
    )
    assert "has version 2 already" in ipai("promote", "demo-staging")
    assert "the state is that of then" in ipai("rollback", "demo-staging")
    assert "version 1 -> 2" in ipai("rollback", "demo-staging", "--to", 2, "--keep-state")
    assert "rolled back" in ipai("releases", "demo-staging")
    assert len(json.loads(ipai("releases", "demo-staging", "--json"))) == 4
    assert "has no releases" in ipai("releases", "nobody")
    assert "ipai releases INSTANCE" in ipai("rollback", "demo-production", code=1)
    assert "1:1" in ipai("apply", write_empty(folder), code=78)


def write_empty(folder: Path) -> Path:
    write(folder, "instances/empty.yaml", "")
    return folder / "instances/empty.yaml"
