# SPDX-License-Identifier: Apache-2.0
"""Records that a bookmark would pass by: wrong clocks, late commits, other settings, failures."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from ipai_kit.exceptions import ConfigurationError, ConnectorError, TryAgainLaterError
from ipai_kit.testing import TapRun
from tap_odoo.api.source import ApiSource
from tap_odoo.models import DECLARED, declared_shape
from tap_odoo.source import Block
from tap_odoo.streams import OdooStream
from tap_odoo.tap import TapOdoo

PARTNERS = ["res_partner"]
SOON = {"deletes_interval_hours": 0}


@pytest.fixture(scope="module")
def shared(make_database: Any) -> Any:
    """One database for all tests here; each takes its state from a run of its own."""
    return make_database(18)


@pytest.fixture
def database(shared: Any) -> Any:
    """Partners as they were."""
    shared.execute("truncate res_partner")
    for number in shared.world.records["res.partner"]:
        shared.put("res.partner", number)
    return shared


def run(database: Any, state: Any = None, **settings: Any) -> TapRun:
    found: TapRun = database.run(deepcopy(state), PARTNERS, lookback_minutes=0, **settings)
    return found


def ids(found: TapRun) -> set[int]:
    return {one["id"] for one in found.records["res_partner"]}


def copy_of(database: Any, number: int, written: str | None) -> None:
    database.execute("update res_partner set id = 0 - id where id = %s", number)
    database.put("res.partner", number)
    database.execute(
        "update res_partner set id = 70, write_date = %s where id = %s", written, number
    )
    database.execute("update res_partner set id = 0 - id where id < 0")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2099-01-01", "2099-01-01T00:00:00+00:00"),
        ("infinity", "infinity"),
        ("0044-03-15 BC", "0044-03-15 00:00:00 BC"),
    ],
)
def test_a_wrong_clock_hides_no_later_changes(database: Any, written: str, told: str) -> None:
    database.execute("update res_partner set write_date = %s where id = 4", written)
    first = run(database)
    database.execute("update res_partner set write_date = now() at time zone 'UTC' where id = 1")

    second = run(database, first.state)

    assert first.records["res_partner"][3]["write_date"] == told
    assert 1 in ids(second)
    assert len(ids(second)) < 6


def test_a_bookmark_beyond_now_leads_to_a_full_read(database: Any) -> None:
    first = run(database)
    first.state["bookmarks"]["res_partner"]["replication_key_value"] = "2099-01-01T00:00:00+00:00"

    second = run(database, first.state)

    assert len(ids(second)) == 6
    assert second.state["bookmarks"]["res_partner"]["replication_key_value"] < "2099"


@pytest.mark.parametrize("written", [None, "2020-01-01"])
def test_records_that_appear_behind_the_bookmark_are_read_when_ids_are_compared(
    database: Any, written: str | None
) -> None:
    first = run(database)
    copy_of(database, 2, written)

    soon = run(database, first.state)
    late = run(database, soon.state, **SOON)
    again = run(database, late.state, **SOON)

    assert 70 not in ids(soon)
    assert 70 in ids(late)
    assert 70 not in ids(again)


@pytest.mark.parametrize("change", ["", " where id = 4"])
def test_a_record_without_a_moment_of_change_moves_no_bookmark(database: Any, change: str) -> None:
    database.execute("update res_partner set write_date = null" + change)

    mark = run(database).state["bookmarks"]["res_partner"]

    assert mark.get("replication_key_value", "")[:10] == ("2026-01-05" if change else "")


def test_records_older_than_the_start_date_are_not_taken_for_missed(database: Any) -> None:
    start = {"start_date": "2026-01-05T08:00:03+00:00", **SOON}
    first = run(database, **start)

    assert ids(first) == {3, 5}
    assert ids(run(database, first.state, **start)) == {5}


def test_a_full_refresh_tells_what_has_vanished(database: Any) -> None:
    first = run(database)
    database.drop("res.partner", 6)

    found = run(database, first.state, full_refresh=True).records["res_partner"]

    assert [one["id"] for one in found if one.get("_sdc_deleted_at")] == [6]


@pytest.mark.parametrize("settings", [{"company_ids": [1]}, {"language": "fr_FR"}])
def test_other_settings_lead_to_a_full_read(database: Any, settings: dict[str, Any]) -> None:
    first = run(database, **settings)

    assert len(ids(run(database, first.state, **settings))) < 6
    assert ids(run(database, first.state)) == {1, 2, 3, 4, 5, 6}


def test_a_new_field_leads_to_a_full_read(database: Any) -> None:
    first = run(database)
    database.execute("alter table res_partner add x_tier varchar default 'gold'")
    database.execute(
        "insert into ir_model_fields (model, name, ttype, store, translate)"
        " values ('res.partner', 'x_tier', 'char', true, false)"
    )

    second = run(database, first.state)

    assert [one["x_tier"] for one in second.records["res_partner"]] == ["gold"] * 6
    assert len(ids(run(database, second.state))) < 6


def test_a_full_read_under_other_settings_does_not_go_on_in_the_middle(database: Any) -> None:
    mark = {"after": 4, "from": "2026-01-05T08:00:05+00:00", "at": "2026-01-05T08:00:05+00:00"}
    state = {"bookmarks": {"res_partner": {"reading": {**mark, "of": "another"}, "ids": "1+3"}}}

    assert ids(run(database, state)) == {1, 2, 3, 4, 5, 6}


# -- failures -----------------------------------------------------------------------------------


def test_state_knows_what_may_have_landed_before_a_failure(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record landed but not known would never be found missing."""
    tap = TapOdoo(config=database.config())

    def read(*_: Any) -> Iterator[Block]:
        yield Block([1, 2], rows=[{"id": 1}, {"id": 2}])
        raise TryAgainLaterError(for_all=True)

    monkeypatch.setattr(tap.source, "read", read)

    with pytest.raises(TryAgainLaterError):
        tap.sync_all()

    (mark,) = tap.state["bookmarks"].values()
    assert (mark["reading"]["after"], mark["ids"]) == (2, "1+5")


def test_new_ids_are_in_state_before_their_records_leave(database: Any) -> None:
    first = run(database)
    copy_of(database, 2, "2026-01-05T09:00:00")

    lines = run(database, first.state).messages

    (at,) = [n for n, one in enumerate(lines) if one.get("record", {}).get("id") == 70]
    before, *_ = [one["value"] for one in lines[:at] if one["type"] == "STATE"][::-1]
    mark = before["bookmarks"]["res_partner"]
    assert mark["ids"] == "1+5.1s"
    assert mark["replication_key_value"] < "2026-01-05T09"


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_run_killed_while_it_reads_what_was_missed_leaves_nothing_behind(
    database: Any, is_deleted: bool
) -> None:
    first = run(database)
    copy_of(database, 2, "2020-01-01")
    late = run(database, first.state, **SOON)
    (at,) = [n for n, one in enumerate(late.messages) if one.get("record", {}).get("id") == 70]
    killed = [one["value"] for one in late.messages[:at] if one["type"] == "STATE"][-1]
    if is_deleted:
        database.execute("delete from res_partner where id = 70")

    found = run(database, killed, **SOON)

    (row,) = [one for one in found.records["res_partner"] if one["id"] == 70]
    assert bool(row.get("_sdc_deleted_at")) == is_deleted
    for state in (late.state, found.state):
        assert "missed" not in state["bookmarks"]["res_partner"]


TABLE_IS_GONE = ConfigurationError("gone", stream="x")
SLOW = TryAgainLaterError("slow", stream="x")


@pytest.mark.parametrize(
    ("failures", "ends_at"),
    [
        ({"account_account": TABLE_IS_GONE}, None),
        ({"account_account": SLOW, "res_partner": SLOW}, None),
        ({"account_account": SLOW, "account_analytic_line": SLOW}, "account_analytic_line"),
        ({"account_account": TryAgainLaterError(for_all=True)}, "account_account"),
        ({"account_account": ConfigurationError(url="http://x")}, "account_account"),
    ],
)
def test_one_failure_stops_no_other_stream_unless_it_concerns_all(
    shared: Any,
    monkeypatch: pytest.MonkeyPatch,
    failures: dict[str, ConnectorError],
    ends_at: str | None,
) -> None:
    tap = TapOdoo(config=shared.config())
    asked: list[str] = []

    def blocks(stream: OdooStream) -> Iterator[Block]:
        asked.append(stream.name)
        if stream.name in failures:
            raise failures[stream.name]
        yield from ()

    monkeypatch.setattr(OdooStream, "_blocks", blocks)

    with pytest.raises(ConnectorError) as caught:
        tap.sync_all()

    assert caught.value is failures[ends_at or "account_account"]
    assert asked[-1] == (ends_at or max(tap.streams))


def test_a_table_that_is_gone_is_told_while_the_others_go_on(shared: Any) -> None:
    tap = TapOdoo(config=shared.config())
    shared.execute("alter table account_tax rename to elsewhere")

    with pytest.raises(ConfigurationError, match="'account_tax' is gone"):
        tap.sync_all()

    shared.execute("alter table elsewhere rename to account_tax")
    assert "ids_at" in tap.state["bookmarks"]["uom_uom"]


def test_the_api_is_asked_for_a_moment_of_change_that_there_is() -> None:
    """PostgreSQL sorts records without one first when the order descends."""
    asked: list[Any] = []

    def call(*_: Any, domain: Any, **__: Any) -> list[Any]:
        asked.extend(domain)
        return []

    scope = {"companies": (), "company": None, "language": "en_US"}
    given = {"database": "", "login": "", "secret": "", "page_size": 1, **scope}
    source: Any = ApiSource(None, "", **given)  # type: ignore[arg-type]
    source._caller = SimpleNamespace(call=call, version=18)
    source.scope = SimpleNamespace(companies=[1], limited=False)

    source.high_water(declared_shape(DECLARED[0]))

    assert ["write_date", "!=", False] in asked
