# SPDX-License-Identifier: Apache-2.0
"""State in the control plane: merged, never lost by accident, with history and a way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from ipai_orchestrate.control_plane import ClaimedRun, ControlPlane
from ipai_orchestrate.exceptions import (
    ConflictError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
)

Connection = psycopg.Connection[tuple[Any, ...]]
JULY, AUGUST = "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"


def marks(**streams: Any) -> dict[str, Any]:
    """A state of streams, each with a cursor value or with its whole bookmark."""
    return {
        "bookmarks": {
            name: value if isinstance(value, dict) else {"replication_key_value": value}
            for name, value in streams.items()
        }
    }


def parts(**cursors: Any) -> dict[str, Any]:
    """The bookmark of a stream with one partition per repository."""
    return {
        "partitions": [
            {"context": {"repository": name}, "replication_key_value": value}
            for name, value in cursors.items()
        ]
    }


@pytest.fixture
def start(
    control_plane: ControlPlane, make_instance: Callable[..., str]
) -> Callable[..., ClaimedRun]:
    """Return a function that starts a run of one instance, ending the one before."""
    make_instance("github-acme")
    active: list[ClaimedRun] = []

    def begin(mode: str = "incremental") -> ClaimedRun:
        if active and control_plane.heartbeat(active[-1]) != "lost":
            control_plane.fail(active[-1], "tap", "ended for the next")
        run = control_plane.claim(control_plane.enqueue("github-acme", mode), "worker")
        assert run is not None
        active.append(run)
        return run

    return begin


def stored(control_plane: ControlPlane) -> dict[str, Any]:
    state = control_plane.state_get("github-acme")
    assert state is not None
    return state.state_json


def test_a_run_resumes_from_what_the_last_one_stored(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    first = start()
    assert (first.state, first.state_version) == ({}, 0)
    assert control_plane.save_state(first, marks(issues=JULY)) == 1

    second = start()

    assert (second.state, second.state_version) == (marks(issues=JULY), 1)


def test_a_full_refresh_starts_from_nothing_and_may_go_back(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    control_plane.save_state(start(), marks(issues=AUGUST, commits=AUGUST))

    run = start("full_refresh")
    assert (run.mode, run.state) == ("full_table", {})
    control_plane.save_state(run, marks(issues=JULY))

    assert stored(control_plane) == marks(issues=JULY, commits=AUGUST)


MERGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("a stream more", marks(a=1), marks(b=2), marks(a=1, b=2)),
    ("a stream further", marks(a=1, b=2), marks(a=3), marks(a=3, b=2)),
    (
        "a partition further, another kept",
        marks(a=parts(x=1, y=1)),
        marks(a=parts(x=2)),
        marks(a=parts(x=2, y=1)),
    ),
    ("a partition more", marks(a=parts(x=1)), marks(a=parts(y=1)), marks(a=parts(y=1, x=1))),
    ("partitions instead of a stream", marks(a={"n": 1}), marks(a=parts(x=1)), marks(a=parts(x=1))),
    (
        "currently_syncing is of the moment",
        {**marks(a=1), "currently_syncing": "a"},
        marks(a=2),
        marks(a=2),
    ),
    ("other keys stay", {**marks(a=1), "version": 7}, marks(a=2), {**marks(a=2), "version": 7}),
    ("a state without bookmarks is replaced", {"offset": 1}, {"offset": 2}, {"offset": 2}),
    ("bookmarks replace what had none", {"offset": 1}, marks(a=1), marks(a=1)),
    ("a bookmark without cursor", marks(a={}), marks(a={}), marks(a={})),
]


@pytest.mark.parametrize(("case", "old", "new", "expected"), MERGES, ids=[row[0] for row in MERGES])
def test_a_new_state_is_laid_over_the_old_one(
    control_plane: ControlPlane,
    start: Callable[..., ClaimedRun],
    case: str,
    old: dict[str, Any],
    new: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    run = start()
    control_plane.save_state(run, old)
    control_plane.save_state(run, new)

    assert stored(control_plane) == expected, case


LOSSES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("empty", marks(a=1), {}, "An empty state would erase"),
    ("no streams", marks(a=1), {"bookmarks": {}}, "An empty state would erase"),
    ("bookmarks gone", marks(a=1), {"bookmarks": None}, "An empty state would erase"),
    ("stream emptied", marks(a=1), marks(a={}), "'a' would be emptied"),
    ("cursor gone", marks(a=1), marks(a={"other": 1}), "'a' would be emptied"),
    ("cursor null", marks(a=1), marks(a=None), "'a' would be emptied"),
    ("number set back", marks(a=10), marks(a=9), "'a' would be set back"),
    ("digits set back", marks(a="10"), marks(a="9"), "'a' would be set back"),
    ("time set back", marks(a=AUGUST), marks(a=JULY), "'a' would be set back"),
    (
        "the same day, another zone",
        marks(a="2026-07-01T12:00:00+00:00"),
        marks(a="2026-07-01T13:00:00+02:00"),
        "'a' would be set back",
    ),
    ("day set back", marks(a="2026-07-02"), marks(a="2026-07-01"), "'a' would be set back"),
    (
        "another precision",
        marks(a="2026-07-01T12:00:00.5Z"),
        marks(a="2026-07-01T12:00:00Z"),
        "'a' would be set back",
    ),
    (
        "partition set back",
        marks(a=parts(x=JULY, y=AUGUST)),
        marks(a=parts(x=AUGUST, y=JULY)),
        "'a' would be set back",
    ),
    (
        "partition emptied",
        marks(a=parts(x=1)),
        marks(a={"partitions": [{"context": {"repository": "x"}}]}),
        "'a' would be emptied",
    ),
]


@pytest.mark.parametrize(("case", "old", "new", "words"), LOSSES, ids=[row[0] for row in LOSSES])
def test_what_would_lose_a_bookmark_is_refused_unless_forced(
    control_plane: ControlPlane,
    start: Callable[..., ClaimedRun],
    case: str,
    old: dict[str, Any],
    new: dict[str, Any],
    words: str,
) -> None:
    run = start()
    control_plane.save_state(run, old)

    with pytest.raises(RefusedError, match=words) as refusal:
        control_plane.save_state(run, new)
    assert (refusal.value.sqlstate, "force" in refusal.value.hint) == ("PT422", True), case
    assert stored(control_plane) == old

    control_plane.save_state(run, new, force=True)
    assert stored(control_plane) != old


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 2),
        ("9", "10"),
        (JULY, AUGUST),
        ("b", "a"),  # tokens have no order
        ("2026-13-45", "2026-12-01T00:00:00Z"),  # looks like a time and is none
        (5, "4"),  # another type
        ("2026-07-01T12:00:00+02:00", "2026-07-01T11:00:00Z"),
        ("2026-07-01T12:00:00+02:00", "2026-07-01T13:00:00+02:00"),
        ("2026-07-01", "2026-07-01T00:00:01Z"),
    ],
)
def test_cursors_that_do_not_surely_go_back_are_stored(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun], old: Any, new: Any
) -> None:
    run = start()
    control_plane.save_state(run, marks(a=old))
    control_plane.save_state(run, marks(a=new))

    assert stored(control_plane) == marks(a=new)


@pytest.mark.parametrize("value", ["text", [1], None, 3])
def test_a_state_is_an_object(
    connection: Connection, start: Callable[..., ClaimedRun], value: Any
) -> None:
    run = start()
    with pytest.raises(psycopg.Error, match="The state is not a JSON object") as refusal:
        connection.execute(
            "select connectors.save_connector_state(%s, %s, %s)",
            (run.id, run.lease_token, Jsonb(value)),
        )
    assert refusal.value.sqlstate == "PT422"


def test_large_numbers_survive(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    control_plane.save_state(start(), marks(a=2**63 + 1))

    assert stored(control_plane) == marks(a=2**63 + 1)


def test_only_the_holder_of_the_lease_stores_state(
    control_plane: ControlPlane, connection: Connection, start: Callable[..., ClaimedRun]
) -> None:
    run = start()
    connection.execute(
        "update connectors.connector_runs set lease_until = now() - interval '1 second'"
    )
    assert [lost.run_id for lost in control_plane.reap()] == [run.id]
    following = start()

    with pytest.raises(LeaseLostError, match="is lost"):
        control_plane.save_state(run, marks(a=1))
    control_plane.save_state(following, marks(a=2))
    assert stored(control_plane) == marks(a=2)


def test_a_stale_expected_version_is_refused(
    connection: Connection, control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    run = start()
    control_plane.save_state(run, marks(a=1))
    query = "select connectors.save_connector_state(%s, %s, %s, expected_version => %s)"
    with pytest.raises(psycopg.Error, match="has version 1, not 0"):
        connection.execute(query, (run.id, run.lease_token, Jsonb(marks(a=2)), 0))
    row = connection.execute(query, (run.id, run.lease_token, Jsonb(marks(a=2)), 1)).fetchone()
    assert row == (2,)


def test_the_history_has_one_row_per_run_and_one_per_change_by_hand(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    run = start()
    for value in (1, 2, 3):
        control_plane.save_state(run, marks(a=value))
    control_plane.complete(run)
    control_plane.state_set("github-acme", marks(a=9))
    control_plane.state_rollback("github-acme", 3)

    history = control_plane.state_history("github-acme")
    assert [(one.version, one.reason, one.state_json) for one in history] == [
        (5, "rollback", marks(a=3)),
        (4, "set", marks(a=9)),
        (3, "run", marks(a=3)),
    ]
    assert history[2].run_id == run.id


def test_the_state_of_an_active_run_is_not_changed_by_hand(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    run = start()
    control_plane.save_state(run, marks(a=1))
    with pytest.raises(ConflictError, match=f"has the active run {run.id}"):
        control_plane.state_set("github-acme", marks(a=2))
    with pytest.raises(ConflictError, match=f"has the active run {run.id}"):
        control_plane.state_rollback("github-acme", 1)


def test_setting_by_hand_compares_the_version_and_knows_the_instance(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    assert start is not None
    assert control_plane.state_set("github-acme", marks(a=1), expected_version=0) == 1
    with pytest.raises(ConflictError, match="has version 1, not 0"):
        control_plane.state_set("github-acme", marks(a=2), expected_version=0)
    with pytest.raises(NotFoundError, match="Instance 'nobody' does not exist"):
        control_plane.state_set("nobody", {})


def test_rolling_back_to_an_unknown_version_names_the_known_ones(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    assert start is not None
    control_plane.state_set("github-acme", marks(a=1))
    with pytest.raises(NotFoundError, match=r"no version 7\. Kept versions: 1"):
        control_plane.state_rollback("github-acme", 7)


def test_a_partial_state_of_meltano_is_resumed_from_and_then_folded_in(
    control_plane: ControlPlane, start: Callable[..., ClaimedRun]
) -> None:
    control_plane.state_set("github-acme", marks(a=1, b=1))
    control_plane.meltano_state_set(
        "dev:tap-github-to-target-bronze-postgres:github-acme",
        marks(a=1, b=1),
        {"singer_state": marks(a=5)},
    )

    run = start()
    assert run.state == marks(a=5, b=1)
    control_plane.save_state(run, marks(b=2))

    after = control_plane.state_get("github-acme")
    assert after is not None
    assert (after.state_json, after.partial_json) == (marks(a=5, b=2), None)


_cursors = st.one_of(st.integers(0, 9), st.none())
_bookmark = st.one_of(
    st.builds(lambda value: {"replication_key_value": value}, _cursors),
    st.dictionaries(st.sampled_from("xyz"), _cursors).map(lambda found: parts(**found)),
    st.just({}),
)
_state = st.dictionaries(st.sampled_from("abc"), _bookmark).map(lambda found: marks(**found))


@settings(max_examples=60, deadline=None)
@given(old=_state, new=_state)
def test_merging_forgets_no_stream_and_no_partition(
    server: Any, migrated_template: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    with psycopg.connect(server.dsn_of(migrated_template)) as connection:
        row = connection.execute(
            "select connectors.merge_state(%s, %s),"
            " (select count(*) from connectors.state_losses(%s, %s))",
            (Jsonb(old), Jsonb(new), Jsonb(old), Jsonb(new)),
        ).fetchone()
    assert row is not None
    merged, losses = row[0]["bookmarks"], row[1]

    assert merged.keys() == old["bookmarks"].keys() | new["bookmarks"].keys()
    for stream, bookmark in new["bookmarks"].items():
        before = old["bookmarks"].get(stream, {})
        if "partitions" not in bookmark:
            assert merged[stream] == bookmark
        elif "partitions" in before:
            contexts = [str(one["context"]) for one in merged[stream]["partitions"]]
            wanted = {str(one["context"]) for one in before["partitions"] + bookmark["partitions"]}
            assert len(contexts) == len(set(contexts))
            assert set(contexts) == wanted
    for stream in merged.keys() - new["bookmarks"].keys():
        assert merged[stream] == old["bookmarks"][stream]
    if old == new:
        assert (merged, losses) == (old["bookmarks"], 0)
