# SPDX-License-Identifier: Apache-2.0
"""What a second run reads: changes with all their ties, deletions, everything now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ipai_kit.testing import TapRun, run_tap, running_sandbox
from tap_odoo.tap import TapOdoo

SOME = ["account_move", "account_invoice", "res_partner", "crm_lead"]
FAST = {"requests_per_second": 500, "lookback_minutes": 0}
Ask = Callable[..., TapRun]


class ByApi:
    """The stand-in's API."""

    def __init__(self, url: Any) -> None:
        self.url = url

    def run(self, state: Any = None, select: Any = SOME, **settings: Any) -> TapRun:
        config = {**self.url.config(), **FAST, **settings}
        return run_tap(TapOdoo, config, state=deepcopy(state), select=select)

    def advance(self) -> None:
        self.url.advance(1)

    def truth(self, stream: str) -> list[dict[str, Any]]:
        return list(self.url.records(stream))


class ByTables:
    """The same facts in tables."""

    def __init__(self, database: Any) -> None:
        self.database = database

    def run(self, state: Any = None, select: Any = SOME, **settings: Any) -> TapRun:
        run: TapRun = self.database.run(deepcopy(state), select, **{**FAST, **settings})
        return run

    def advance(self) -> None:
        world = self.database.world
        before = {model: set(records) for model, records in world.records.items()}
        world.advance(1)
        for model, records in world.records.items():
            for gone in before[model] - set(records):
                self.database.drop(model, gone)
        for model, number in (("account.move", 2), ("res.partner", 3)):
            self.database.put(model, number)
        self.database.put("account.move", max(world.records["account.move"]))

    def truth(self, stream: str) -> list[dict[str, Any]]:
        return list(self.database.world.of_stream(stream))


@pytest.fixture(params=["api", "postgres"])
def odoo(request: pytest.FixtureRequest, make_database: Any) -> Iterator[ByApi | ByTables]:
    """Odoo, reached in each of the two ways."""
    if request.param == "postgres":
        yield ByTables(make_database(18))
        return
    with running_sandbox("odoo") as url:
        yield ByApi(url)


def ids(run: TapRun, stream: str) -> list[int]:
    return [one["id"] for one in run.records[stream]]


def gone(run: TapRun, stream: str) -> list[int]:
    return [one["id"] for one in run.records[stream] if one.get("_sdc_deleted_at")]


def bookmark(run: TapRun, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = run.state["bookmarks"][stream]
    return found


def test_a_second_run_reads_what_changed_and_says_what_is_gone(odoo: Any) -> None:
    first = odoo.run()
    odoo.advance()

    second = odoo.run(first.state, deletes_interval_hours=0)

    assert ids(second, "account_move") == [5, 2, 7]  # 5 is as old as the bookmark
    assert ids(second, "account_invoice") == [3, 2]
    assert ids(second, "res_partner") == [5, 3]
    tombstone = second.records["crm_lead"][-1]
    assert set(tombstone) == {"id", "_sdc_deleted_at"}
    assert gone(second, "crm_lead") == [1]
    assert datetime.fromisoformat(tombstone["_sdc_deleted_at"]) <= datetime.now(UTC)


def test_the_target_has_the_truth_after_every_run(odoo: Any) -> None:
    target: dict[str, dict[int, Any]] = {name: {} for name in SOME}
    state = None
    for _ in range(3):
        run = odoo.run(state, deletes_interval_hours=0)
        state = run.state
        for stream in SOME:
            for record in run.records[stream]:
                if record.get("_sdc_deleted_at"):
                    del target[stream][record["id"]]
                else:
                    target[stream][record["id"]] = record
            assert target[stream] == {one["id"]: one for one in odoo.truth(stream)}
        odoo.advance()


def test_deletions_are_looked_for_when_they_are_due(odoo: Any) -> None:
    first = odoo.run()
    odoo.advance()

    soon = odoo.run(first.state)
    bookmark(soon, "crm_lead")["ids_at"] = "2026-01-01T00:00:00+00:00"
    late = odoo.run(soon.state)

    assert gone(soon, "crm_lead") == []
    assert gone(late, "crm_lead") == [1]
    assert gone(odoo.run(late.state, deletes_interval_hours=0), "crm_lead") == []


def test_changes_are_read_again_from_the_lookback_on(odoo: Any) -> None:
    """A transaction that began before the bookmark may commit after it was taken."""
    first = odoo.run()

    again = odoo.run(first.state)
    far_back = odoo.run(first.state, lookback_minutes=60)

    assert ids(again, "res_partner") == [5]
    assert sorted(ids(far_back, "res_partner")) == [1, 2, 3, 4, 5, 6]


def test_everything_is_read_again_when_that_is_due(odoo: Any) -> None:
    """Raw SQL leaves write_date alone, so nothing else would find it."""
    first = odoo.run()
    at = datetime.fromisoformat(bookmark(first, "res_partner")["full_at"])
    bookmark(first, "res_partner")["full_at"] = (at - timedelta(days=8)).isoformat()

    second = odoo.run(first.state)

    assert ids(second, "res_partner") == [1, 2, 3, 4, 5, 6]
    assert ids(second, "account_move") == [5]
    assert bookmark(second, "res_partner")["full_at"] >= at.isoformat()


def test_a_first_read_that_broke_off_goes_on_beyond_its_last_id(odoo: Any) -> None:
    first = odoo.run()
    mark = bookmark(first, "res_partner")
    before = {"after": 4, "from": mark["replication_key_value"], "at": mark["full_at"]}
    state = {"bookmarks": {"res_partner": {"reading": before, "ids": "1+3"}}}

    rest = odoo.run(state, select=["res_partner"])

    assert ids(rest, "res_partner") == [5, 6]
    assert bookmark(rest, "res_partner")["replication_key_value"] == mark["replication_key_value"]
    assert bookmark(rest, "res_partner")["ids"] == mark["ids"]
    assert "reading" not in bookmark(rest, "res_partner")


def test_a_start_date_bounds_the_first_read(odoo: Any) -> None:
    found = odoo.run(start_date="2026-01-05T08:00:03+00:00")

    assert ids(found, "res_partner") == [3, 5]


def test_a_full_refresh_forgets_where_the_last_run_was(odoo: Any) -> None:
    first = odoo.run()

    assert len(ids(odoo.run(first.state, full_refresh=True), "res_partner")) == 6


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_pages_of_any_size_lose_no_tie(size: int) -> None:
    """Half of all records share one moment, of which the API tells only the second."""
    with running_sandbox("odoo") as url:
        odoo = ByApi(url)
        first = odoo.run(page_size=size)
        again = odoo.run(first.state, page_size=size, lookback_minutes=60)

        for stream in SOME:
            truth = {one["id"] for one in odoo.truth(stream)}
            assert truth == set(ids(first, stream)) == set(ids(again, stream))


def test_state_says_moments_as_exactly_as_the_way_allows(odoo: Any) -> None:
    value = bookmark(odoo.run(), "res_partner")["replication_key_value"]

    exact = isinstance(odoo, ByTables)

    assert value == f"2026-01-05T08:00:05{'.250005' if exact else ''}+00:00"


def test_selected_members_and_deletions_go_together(odoo: Any) -> None:
    config = odoo.database.config() if isinstance(odoo, ByTables) else odoo.url.config()
    settings = {**FAST, **config, "deletes_interval_hours": 0}
    catalog = TapOdoo(config=settings).catalog_dict
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            name = (entry["breadcrumb"] or [None])[-1]
            chosen = stream["tap_stream_id"] == "crm_lead"
            wanted = name in ("id", "name", "write_date", "_sdc_deleted_at", None)
            entry["metadata"]["selected"] = chosen and wanted
    first = run_tap(TapOdoo, settings, catalog=catalog)
    odoo.advance()

    second = run_tap(TapOdoo, settings, catalog=catalog, state=first.state)

    assert set(first.records["crm_lead"][0]) == {"id", "name", "write_date"}
    assert gone(second, "crm_lead") == [1]
