# SPDX-License-Identifier: Apache-2.0
"""The whole way on a real database: Bronze in, Gold out, as readers with their rights see it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ipai_orchestrate.transform import TransformResult, run_dbt
from ipai_orchestrate.transform.project import find_project

pytestmark = pytest.mark.slow

GOLD = "ipai_gold_devops"
SILVER = "ipai_silver_devops"
ANN, BOB = {"id": 7, "login": "ann", "type": "User"}, {"id": 8, "login": "bob", "type": "User"}


def ours(**fields: Any) -> dict[str, Any]:
    return {"_repository_id": 1, "_repository": "acme/app", **fields}


@pytest.fixture(scope="module")
def built(warehouse: Any) -> tuple[Any, TransformResult]:
    """Two instances read the same repository; most streams were never synced."""
    for stream in ("repositories", "pull_requests", "reviews", "commits"):
        warehouse.create(stream)
    for instance in ("one", "two"):
        warehouse.land("repositories", {"id": 1, "full_name": "acme/new"}, [1], instance=instance)
        warehouse.land(
            "pull_requests",
            ours(
                id=11,
                number=5,
                user=ANN,
                created_at="2026-01-05T00:00:00Z",
                merged_at="2026-01-06T12:00:00Z",
                closed_at="2026-01-06T12:00:00Z",
                labels=[{"name": "bug"}],
            ),
            [1, 11],
            instance=instance,
            cursor="2026-01-06T12:00:00.000000000Z",
        )
    warehouse.land(
        "reviews",
        ours(id=21, _pull_number=5, user=BOB, submitted_at="2026-01-05T06:00:00Z"),
        [1, 21],
        emitted="2026-02-03",
    )
    warehouse.land(
        "commits",
        ours(sha="c1", commit={"committer": {"date": "2026-01-07T00:00:00Z"}}, author=ANN),
        [1, "c1"],
    )
    return warehouse, warehouse.build_ok("pull_requests")


def test_the_first_build_builds_every_model_also_of_streams_never_synced(
    built: tuple[Any, TransformResult],
) -> None:
    warehouse, result = built

    assert {model.name for model in result.models} == set(find_project().models())
    assert warehouse.value(f"select count(*) from {SILVER}.github_stargazers") == 0
    assert result.rows == 6


def test_the_figures_are_those_computed_by_hand(built: tuple[Any, TransformResult]) -> None:
    """36 hours from creation to merge; instance one has a review after 6 hours, two has none."""
    warehouse, _ = built

    rows = warehouse.rows(
        f"select instance_id, repository, week_start, merged_count, merged_unreviewed_count, "
        f"cycle_hours_median, first_review_hours_p90, data_as_of at time zone 'UTC' "
        f"from {GOLD}.gold_devops_pull_request_flow order by 1"
    )

    monday, cycle = date(2026, 1, 5), Decimal("36.00")
    first, third = datetime(2026, 2, 1), datetime(2026, 2, 3)  # noqa: DTZ001 - made naive above
    assert rows == [
        ("one", "acme/new", monday, 1, 0, cycle, Decimal("6.00"), third),
        ("two", "acme/new", monday, 1, 1, cycle, None, first),
    ]


def test_unit_tests_hold_and_names_follow_the_rules(built: tuple[Any, TransformResult]) -> None:
    warehouse, _ = built

    result = warehouse.build_ok(
        select=["path:models/gold", "assert_names_follow_the_rules"], unit_tests=True
    )

    kinds = {node.kind for node in result.nodes}
    assert {"model", "test", "unit_test"} == kinds
    assert "assert_names_follow_the_rules" in {node.name for node in result.nodes}
    assert all(node.status in {"success", "pass"} for node in result.nodes)


def test_every_model_and_column_carries_its_description_as_a_comment(
    built: tuple[Any, TransformResult],
) -> None:
    warehouse, _ = built

    silent = warehouse.rows(
        "select c.relname, a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname ~ '^ipai_(silver|gold)_' and c.relkind in ('r', 'p', 'v') "
        "and not c.relispartition and (obj_description(c.oid) is null "
        "or coalesce(length(col_description(c.oid, a.attnum)), 0) < 3)"
    )

    assert silent == []


def test_gold_columns_say_more_than_their_name(built: tuple[Any, TransformResult]) -> None:
    warehouse, _ = built

    comments = warehouse.rows(
        "select a.attname, col_description(a.attrelid, a.attnum) from pg_attribute a "
        "join pg_class c on c.oid = a.attrelid "
        "join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname ~ '^ipai_gold_' and c.relkind = 'v' and a.attnum > 0"
    )

    assert len(comments) > 300
    for name, text in comments:
        assert len(text.split()) >= 5, (name, text)
        assert text.lower().rstrip(".") != name.replace("_", " ")


def test_analysts_read_gold_and_neither_silver_nor_bronze(
    built: tuple[Any, TransformResult],
) -> None:
    warehouse, _ = built
    with psycopg.connect(warehouse.dsn) as reader:
        reader.execute("set role ipai_analyst")

        views = warehouse.rows(
            "select c.oid::regclass::text from pg_class c "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname like 'ipai\\_gold\\_%' and c.relkind = 'v'"
        )
        assert len(views) == sum(name.startswith("gold_") for name in find_project().models())
        for (view,) in views:
            reader.execute(f"select * from {view}").fetchall()
        for table in (f"{SILVER}.github_commits", "ipai_bronze_devops.raw_github_commits"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
                reader.execute(f"select * from {table}")


def test_gold_runs_with_the_rights_of_the_reader(built: tuple[Any, TransformResult]) -> None:
    warehouse, _ = built

    options = warehouse.rows(
        "select distinct reloptions from pg_class "
        f"where relnamespace = '{GOLD}'::regnamespace and relkind = 'v'"
    )

    assert options == [(["security_invoker=true"],)]


def test_a_query_on_one_month_reads_one_partition(built: tuple[Any, TransformResult]) -> None:
    warehouse, _ = built
    warehouse.connection.execute("set timezone to 'America/New_York'")
    bounds = warehouse.rows(
        "select pg_get_expr(c.relpartbound, c.oid) from pg_inherits i "
        "join pg_class c on c.oid = i.inhrelid "
        f"where i.inhparent = '{SILVER}.github_pull_requests'::regclass order by 1"
    )
    plan = warehouse.rows(
        f"explain select * from {SILVER}.github_pull_requests where created_at "
        "between '2026-01-02' and '2026-01-03'"
    )
    warehouse.connection.execute("reset timezone")

    months = "FOR VALUES FROM ('2025-12-31 19:00:00-05') TO ('2026-01-31 19:00:00-05')"
    assert [row[0] for row in bounds] == ["DEFAULT", months]
    assert "github_pull_requests_p202601" in str(plan)
    assert "default" not in str(plan)


def test_silver_is_typed_and_can_be_traced_to_its_run(built: tuple[Any, TransformResult]) -> None:
    warehouse, _ = built

    [row] = warehouse.rows(
        "select id, author_login, labels, created_at, _source, _stream, _cursor, _run_id, "
        f"_deleted_at from {SILVER}.github_pull_requests where instance_id = 'one'"
    )

    created, cursor = datetime(2026, 1, 5, tzinfo=UTC), "2026-01-06T12:00:00.000000000Z"
    assert row == (
        11,
        "ann",
        [{"name": "bug"}],
        created,
        "github",
        "pull_requests",
        cursor,
        "run-1",
        None,
    )


def test_the_next_build_touches_only_what_depends_on_the_stream(
    built: tuple[Any, TransformResult],
) -> None:
    warehouse, _ = built

    result = warehouse.build_ok("reviews", "no_such_stream")

    names = {model.name for model in result.models}
    assert names == {
        "github_reviews",
        "gold_devops_pull_request_flow",
        "gold_devops_data_freshness",
        "gold_freshness",
    }
    assert result.rows == 0


def test_a_stream_of_another_source_touches_that_source_only(
    built: tuple[Any, TransformResult],
) -> None:
    warehouse, _ = built

    result = run_dbt(warehouse.dsn, streams=[("odoo", "stock_quant")])

    names = {model.name for model in result.models}
    assert names == {"odoo_inventory", "gold_retail_inventory", "gold_freshness"}
    assert result.ok, result.summary()
