# SPDX-License-Identifier: Apache-2.0
"""What becomes of Bronze rows in Silver: newest wins, replays, deletions, moves, new columns."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ipai_orchestrate.transform.silver import generate

pytestmark = pytest.mark.slow

ISSUES = "ipai_silver_devops.github_issues"
LABELS = "ipai_silver_devops.github_labels"
MILESTONES = "ipai_silver_devops.github_milestones"


def issue(number: int, title: str = "first", created: str = "2026-01-05", **fields: Any) -> Any:
    return {
        "_repository_id": 1,
        "id": number,
        "title": title,
        "created_at": f"{created}T00:00:00Z",
        **fields,
    }


def land_issue(warehouse: Any, number: int, *values: str, **options: Any) -> None:
    warehouse.land("issues", issue(number, *values), [1, number], **options)


def titles(warehouse: Any) -> dict[tuple[str, int], str]:
    rows = warehouse.rows(f"select instance_id, id, title from {ISSUES}")
    return {(instance, number): title for instance, number, title in rows}


@pytest.fixture(scope="module")
def stocked(warehouse: Any, small_project: Path) -> Any:
    """Issues of two instances under the same keys, in January and without a date."""
    warehouse.create("issues")
    for number in (1, 2, 3, 4):
        land_issue(warehouse, number, cursor="2026-01-05")
    land_issue(warehouse, 1, "of two", instance="two", cursor="2026-01-05")
    undated = {**issue(5), "created_at": None}
    warehouse.land("issues", undated, [1, 5], cursor="2026-01-05")
    warehouse.build_ok("issues")
    return warehouse


def test_the_same_key_of_two_instances_is_two_rows(stocked: Any) -> None:
    found = titles(stocked)

    assert found[("one", 1)] == "first"
    assert found[("two", 1)] == "of two"
    assert len(found) == 6


def test_what_was_read_before_is_neither_written_nor_parsed_again(stocked: Any) -> None:
    """All of it lies within the lookback; a value that does not fit would fail the build."""
    before = stocked.rows(f"select tableoid, ctid, xmin::text from {ISSUES} order by 1, 2")
    day, unfit = "2026-01-05T00:00:00Z", "some day"
    change = (
        "update ipai_bronze_devops.raw_github_issues "
        "set record = replace(record::text, %s, %s)::jsonb"
    )
    stocked.connection.execute(change, (day, unfit))

    result = stocked.build_ok(select=["github_issues"])

    stocked.connection.execute(change, (unfit, day))
    after = stocked.rows(f"select tableoid, ctid, xmin::text from {ISSUES} order by 1, 2")
    assert result.rows == 0
    assert after == before


def test_news_are_applied_row_by_row(stocked: Any) -> None:
    """One build for many cases, because dbt takes seconds to start."""
    change = {"emitted": "2026-02-02", "cursor": "2026-02-02"}
    land_issue(stocked, 1, "newer", **change)
    land_issue(stocked, 2, "moved", "2026-03-05", **change)
    land_issue(stocked, 3, deleted="2026-02-02", cursor="2026-01-05")
    # Deleted before Bronze ever saw it: nothing that could be a row.
    bare = {"_repository_id": 1, "id": 7, "_sdc_lsn": 9, "_sdc_deleted_at": "2026-02-02T00:00:00Z"}
    stocked.land("issues", bare, [1, 7], deleted="2026-02-02", cursor="2026-02-02")
    # Committed late: stored by a transaction that began before the newest row Silver knows.
    late = stocked.value(f"select (max(_loaded_at) - interval '50 minutes')::text from {ISSUES}")
    land_issue(stocked, 6, "late", emitted="2025-12-01", cursor="2025-12-01", loaded=late)
    # From now on read in full, without a cursor: not older for that.
    land_issue(stocked, 4, "without cursor", emitted="2026-02-02", cursor=None)

    result = stocked.build_ok("issues")

    assert result.rows == 5
    assert titles(stocked) == {
        ("one", 1): "newer",
        ("one", 2): "moved",
        ("one", 3): "first",
        ("one", 4): "without cursor",
        ("one", 5): "first",
        ("one", 6): "late",
        ("two", 1): "of two",
    }
    assert stocked.rows(f"select id from {ISSUES} where _deleted_at is not null") == [(3,)]
    partitions = stocked.rows(
        f"select id, substring(tableoid::regclass::text from '_(p[0-9]+|default)_') from {ISSUES} "
        "where instance_id = 'one' order by id"
    )
    assert [name for _, name in partitions] == [
        "p202601",
        "p202603",
        "p202601",
        "p202601",
        "default",
        "p202601",
    ]


def test_hard_deletion_removes_what_soft_deletion_kept(stocked: Any) -> None:
    result = stocked.build_ok(select=["github_issues"], variables={"silver_delete_policy": "hard"})

    assert result.rows == 0
    assert ("one", 3) not in titles(stocked)


def test_a_repair_reads_all_of_bronze_again(stocked: Any) -> None:
    stocked.connection.execute(f"update {ISSUES} set title = 'damaged' where id = 5")
    stocked.connection.execute(
        "update ipai_bronze_devops.raw_github_issues set loaded_at = loaded_at - interval '9 days' "
        "where record_key = '[1, 5]'"
    )

    plain = stocked.build_ok(select=["github_issues"])

    assert plain.rows == 1
    assert ("one", 3) in titles(stocked), "soft deletion keeps it again"
    assert titles(stocked)[("one", 5)] == "damaged"

    repaired = stocked.build_ok(select=["github_issues"], variables={"silver_replay": True})

    assert repaired.rows == 1
    assert titles(stocked)[("one", 5)] == "first"


def test_a_full_refresh_never_loses_history_unasked(stocked: Any) -> None:
    stocked.connection.execute(
        "delete from ipai_bronze_devops.raw_github_issues where record_key = '[1, 2]'"
    )

    guarded = stocked.build(select=["github_issues"], full_refresh=True)

    assert not guarded.ok
    assert "would lose 1 rows that Bronze no longer holds" in guarded.summary()
    assert ("one", 2) in titles(stocked)

    stocked.build_ok(
        select=["github_issues"], full_refresh=True, variables={"silver_full_refresh": "allow"}
    )

    assert ("one", 2) not in titles(stocked)
    leftovers = stocked.value(
        "select count(*) from pg_class where relnamespace = 'ipai_silver_devops'::regnamespace "
        "and relname ~ '__dbt_'"
    )
    assert leftovers == 0


def test_a_value_that_does_not_fit_fails_its_model_alone(stocked: Any) -> None:
    stocked.create("milestones")
    stocked.land("milestones", {"_repository_id": 1, "id": 1, "number": "seven"}, [1, 1])
    land_issue(stocked, 7, "beside a failure")

    result = stocked.build("milestones", "issues")

    assert not result.ok
    [failure] = result.failures
    assert failure.name == "github_milestones"
    assert 'invalid input syntax for type bigint: "seven"' in str(failure.message)
    assert titles(stocked)[("one", 7)] == "beside a failure"

    stocked.land("milestones", {"_repository_id": 1, "id": 1, "number": 7}, [1, 1])


def test_any_order_of_any_versions_ends_in_the_newest_of_each_key(stocked: Any) -> None:
    """Bronze that keeps every version, fed at random, in two builds; of equals the last counts."""
    chance = random.Random(11)
    versions = [
        (key, f"{chance.randrange(4):02}", f"2026-02-{chance.randrange(1, 9):02}")
        for key in range(60)
        for _ in range(chance.randrange(1, 6))
    ]
    deliveries = versions + chance.sample(versions, len(versions) // 2)
    chance.shuffle(deliveries)
    stocked.create("labels", append=True)
    arrivals = [(*delivery, f"{number:03}") for number, delivery in enumerate(deliveries)]
    half = len(arrivals) // 2
    for part in (arrivals[:half], arrivals[half:]):
        for key, cursor, emitted, number in part:
            record = {"_repository_id": 1, "id": key, "name": f"{cursor} {emitted} {number}"}
            stocked.land("labels", record, [1, key], cursor=cursor, emitted=emitted, append=True)
        stocked.build_ok("labels", "milestones")

    newest: dict[int, tuple[str, ...]] = {}
    for key, *version in arrivals:
        newest[key] = max(newest.get(key, ()), tuple(version))
    expected = {key: " ".join(version) for key, version in newest.items()}
    assert dict(stocked.rows(f"select id, name from {LABELS}")) == expected

    assert stocked.rows(f"select number from {MILESTONES}") == [(7,)], "repaired beside it"


def test_a_new_column_is_added_and_filled_from_bronze(stocked: Any, project_copy: Path) -> None:
    model = project_copy / "models/silver/github/github_labels"
    sql, contract = model.with_suffix(".sql"), model.with_suffix(".yml")
    sql.write_text(sql.read_text().replace("\n]) }}", "\n    ['shade', ['name'], 'text'],\n]) }}"))
    contract.write_text(
        contract.read_text().replace(
            "  - name: _cursor\n",
            "  - name: shade\n    data_type: text\n    description: Later.\n  - name: _cursor\n",
        )
    )
    stocked.connection.execute(
        "update ipai_bronze_devops.raw_github_labels set loaded_at = loaded_at - interval '9 days'"
    )

    stocked.build_ok(select=["github_labels"])

    assert stocked.value(f"select count(*) from {LABELS} where shade = name") == 60

    for path in (sql, contract):
        path.write_text(
            path.read_text()
            .replace("'shade', ['name'], 'text'", "'shade', ['id'], 'bigint'")
            .replace("shade\n    data_type: text", "shade\n    data_type: bigint")
        )
    retyped = stocked.build(select=["github_labels"])

    assert not retyped.ok
    assert "shade (text stored, bigint in the contract)" in retyped.summary()


def test_what_breaks_a_rule_is_refused_in_words(stocked: Any, project_copy: Path) -> None:
    """A query beside its contract, foreign names, a policy nobody knows: all in one run."""
    sql = project_copy / "models/silver/github/github_labels.sql"
    sql.write_text(
        sql.read_text().replace("\n]) }}", "\n    ['surprise', ['name'], 'text'],\n]) }}")
    )
    gold = project_copy / "models/gold/devops"
    misc = project_copy / "models/gold/misc"
    gold.mkdir(parents=True)
    misc.mkdir()
    (gold / "devops_things.sql").write_text("select 1 as one")
    (misc / "gold_misc_things.sql").write_text(
        "{{ config(schema='ipai_gold_misc') }} select 1 as one"
    )

    result = stocked.build(
        select=["github_issues", "github_labels", "assert_names_follow_the_rules"],
        variables={"silver_delete_policy": "maybe"},
    )

    failed = {node.name: node for node in result.failures}
    assert set(failed) == {"github_issues", "github_labels", "assert_names_follow_the_rules"}
    assert "Use soft (keep the row, set _deleted_at) or hard" in str(
        failed["github_issues"].message
    )
    assert "enforced contract that failed" in str(failed["github_labels"].message)
    assert failed["assert_names_follow_the_rules"].rows == 2


def test_models_generated_for_another_source_run_as_they_are(
    stocked: Any, project_copy: Path, write_stream: Callable[..., Path]
) -> None:
    """Keyless, partitioned by a plain date, with names no SQL likes; and one without any row."""
    text, day = {"type": "string"}, {"type": "string", "format": "date"}
    properties = {
        "it's": text,
        "select": text,
        'a "quote" \\\\': {"type": "object", "properties": {"deep, {inside}": {"type": "number"}}},
        "day": day,
        f"{'long ' * 12}name": text,
    }
    write_stream("visits", properties, [])
    schemas = write_stream("orders", {"id": {"type": "integer"}}, ["id"])
    (project_copy / "silver/shop.yml").write_text(
        f"rename: {{'{'long ' * 12}name': long_name}}\n"
        "partition_by: [day]\nnested:\n  'a \"quote\" \\\\': {'deep, {inside}': amount}\n"
    )
    generate(project_copy, schemas)
    record = {
        "it's": "a 'quoted' one",
        "select": "word",
        'a "quote" \\\\': {"deep, {inside}": 12345678901234567890.123},
        "day": "2026-01-31",
        f"{'long ' * 12}name": "not cut",
    }
    body = json.dumps(record).replace("1.2345678901234567e+19", "12345678901234567890.123")
    stocked.connection.execute(
        "create table ipai_bronze_erp.raw_shop_visits "
        "(like ipai_bronze_devops.raw_github_issues including all)"
    )
    stocked.connection.execute(
        "insert into ipai_bronze_erp.raw_shop_visits (instance_id, record_key, record, emitted_at, "
        "source, stream, record_hash) values "
        "('one', '[\"x\"]', %s, now(), 'shop', 'visits', 1)",
        (body,),
    )

    stocked.build_ok(select=["path:models/silver/shop"])

    [row] = stocked.rows(
        "select it_s, select_value, amount, _record_key, tableoid::regclass::text, "
        "long_name "
        "from ipai_silver_erp.shop_visits"
    )
    assert row[:4] == ("a 'quoted' one", "word", Decimal("12345678901234567890.123"), '["x"]')
    assert "shop_visits_p202601_" in row[4]
    assert row[5] == "not cut"
    assert stocked.rows("select * from ipai_silver_erp.shop_orders") == []
