# SPDX-License-Identifier: Apache-2.0
"""Every kind of change: after a run, what was delivered equals the table."""

from __future__ import annotations

import pytest

STREAM = "public-things"
PARTITION = "create table things_{} partition of things for values from ('{}') to ('{}')"
LONG = "(select string_agg(md5(n::text), '') from generate_series(1, 200) n)"
TABLE = [
    "create table things (id int primary key, name text, large text, tags jsonb, data bytea)",
    (
        "alter table things alter large set storage external, alter tags set storage external, "
        "alter data set storage external"
    ),
    f"""insert into things select n, 'thing ' || n, {LONG} || n,
        jsonb_build_object('v', {LONG} || n), convert_to({LONG} || n, 'UTF8')
        from generate_series(1, 5) n""",
]

CHANGES = {
    "an insert": ["insert into things values (6, 'six')"],
    "an update": ["update things set name = 'other' where id = 1"],
    "a delete": ["delete from things where id = 2"],
    "an insert, an update and a delete of one row": [
        "insert into things values (6, 'six')",
        "update things set name = 'seven' where id = 6",
        "delete from things where id = 6",
    ],
    "a delete and an insert of one key in one transaction": [
        "begin; delete from things where id = 1; insert into things values (1, 'again'); commit"
    ],
    "another key": ["update things set id = 60, name = 'moved' where id = 3"],
    "keys that change places": [
        (
            "begin; update things set id = -1 where id = 1; update things set id = 1 where id = 2; "
            "update things set id = 2 where id = -1; commit"
        )
    ],
    "a truncate": ["truncate things"],
    "a truncate and new rows": [
        """begin; insert into things values (8); truncate things;
        insert into things values (1, 'new'), (9, null); commit""",
        "update things set name = 'newer' where id = 1",
    ],
    "two truncates": [
        "truncate things",
        "insert into things values (1, 'first')",
        "truncate things",
        "insert into things values (2, 'second')",
    ],
    "large values left alone": ["update things set name = 'x'"],
    "large values left alone in a row that is gone later": [
        "update things set name = 'x' where id <= 3",
        "delete from things where id = 2",
        "update things set id = 30 where id = 3",
    ],
    "large values of which one changes": ["update things set large = 'short' where id = 1"],
    "large values in a full replica identity": [
        "alter table things replica identity full",
        "update things set name = 'x' where id < 3",
        "update things set id = 40 where id = 4",
        "delete from things where id = 5",
    ],
    "what was rolled back": [
        "begin; insert into things values (7, 'never'); rollback",
        (
            "begin; insert into things values (8, 'yes'); savepoint a; "
            "insert into things values (9, 'no'); rollback to a; commit"
        ),
    ],
    "a column that the server computes": [
        "alter table things add column double int generated always as (id * 2) stored",
        "insert into things values (8, 'x')",
        "update things set name = 'y'",
        "delete from things where id = 3",
    ],
    "a new column": [
        "insert into things values (6, 'before')",
        "alter table things add column extra numeric(10, 3)",
        "insert into things (id, extra) values (7, 1.500)",
    ],
    "a column that is dropped": [
        "update things set name = 'x'",
        "alter table things drop column large",
        "update things set name = 'y'",
    ],
    "a column with another name": [
        "alter table things rename name to label",
        "update things set label = 'y'",
    ],
    "a column with another type": [
        "insert into things values (6, '17')",
        "update things set name = id",
        "alter table things alter name type int using name::int",
        "update things set name = name + 1",
    ],
    "another name for the table and back": [
        "alter table things rename to others",
        "update others set name = 'renamed'",
        "alter table others rename to things",
    ],
    "text with every kind of character": [
        r"""update things set
            name = E'quote " backslash \\ newline \n tab \t é 漢 😀 \u0001 %s %%'""",
        "update things set name = '' where id = 2",
    ],
}


@pytest.mark.parametrize("statements", CHANGES.values(), ids=CHANGES)
def test_after_a_change_what_was_delivered_is_the_table(followed, statements):
    followed.change(*TABLE)
    followed.run()
    assert followed.delivered(STREAM) == followed.expected(STREAM)

    followed.change(*statements)
    followed.run()

    known = {name for row in followed.expected(STREAM) for name in row}
    found = [
        {name: value for name, value in row.items() if name in known}
        for row in followed.delivered(STREAM)
    ]
    assert complete(found, known) == followed.expected(STREAM)


def complete(rows, names):
    """Rows that were last written before a column came do not hold it."""
    return [{**dict.fromkeys(names), **row} for row in rows]


def test_each_change_is_a_record_with_its_place_in_the_log(each_followed):
    each_followed.change("create table things (id int primary key, name text)")
    each_followed.run()
    each_followed.change(
        "insert into things values (1, 'a')",
        "update things set name = 'b'",
        "update things set id = 2",
        "delete from things",
    )

    run = each_followed.run()

    records = run.records[STREAM]
    assert [(one["id"], one.get("name"), bool(one["_sdc_deleted_at"])) for one in records] == [
        (1, "a", False),
        (1, "b", False),
        (1, None, True),
        (2, "b", False),
        (2, None, True),
    ]
    places = [one["_sdc_lsn"] for one in records]
    assert places == sorted(places)
    assert len(set(places)) == 4
    schema = run.schemas[STREAM]
    assert schema["bookmark_properties"] == ["_sdc_lsn"]
    assert {"_sdc_deleted_at", "_sdc_lsn"} <= set(schema["schema"]["properties"])


def test_a_new_column_is_announced_before_its_first_value(followed):
    followed.change("create table things (id int primary key)")
    catalog_of_before = followed.run()
    followed.change("insert into things values (1)", "alter table things add extra date")
    followed.change("insert into things values (2, '2026-01-31')")

    run = followed.run()

    kinds = [one["type"] for one in run.messages if one["type"] in {"SCHEMA", "RECORD"}]
    assert "extra" not in catalog_of_before.schemas[STREAM]["schema"]["properties"]
    assert run.schemas[STREAM]["schema"]["properties"]["extra"]["format"] == "date"
    assert kinds[0] == "SCHEMA"
    assert followed.delivered(STREAM) == [{"id": 2, "extra": "2026-01-31"}, {"id": 1}]


def test_a_column_that_is_not_selected_never_leaves(followed):
    followed.change(*TABLE)
    catalog = followed.source.run().messages and _catalog_without(followed, "large", "tags")
    followed.state = None

    for change in (["select 1"], ["update things set name = 'x'", "insert into things values (7)"]):
        followed.change(*change)
        run = followed.source.run(catalog=catalog, state=followed.state, **followed.settings())
        followed.state = run.state
        assert run.records[STREAM]
        assert not any({"large", "tags"} & set(record) for record in run.records[STREAM])


def _catalog_without(followed, *names):
    from ipai_kit.testing.runs import selecting
    from tap_jdbc.tap import TapJdbc

    found = TapJdbc(config=followed.source.config(**followed.settings())).catalog_dict
    catalog = selecting(found, [STREAM])
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"] and entry["breadcrumb"][-1] in names:
            entry["metadata"]["selected"] = False
    return catalog


def test_a_stream_map_sees_records_of_the_log(followed):
    followed.change("create table things (id int primary key, name text)")
    maps = {"stream_maps": {STREAM: {"name": "name.upper() if name else None"}}}
    followed.run(**maps)
    followed.change(
        "insert into things values (1, 'a'), (2, 'b')", "delete from things where id = 2"
    )

    followed.run(**maps)

    assert followed.delivered(STREAM) == [{"id": 1, "name": "A"}]


def test_a_partitioned_table_is_one_stream(followed):
    followed.change(
        """create table things (id int, day date, name text, primary key (id, day))
        partition by range (day)""",
        PARTITION.format(1, "2026-01-01", "2026-02-01"),
        PARTITION.format(2, "2026-02-01", "2026-03-01"),
        "insert into things values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b')",
    )
    followed.run()
    followed.change(
        "update things set day = '2026-02-06' where id = 1",
        "insert into things_2 values (3, '2026-02-07', 'c')",
        PARTITION.format(3, "2026-03-01", "2026-04-01"),
        "insert into things values (4, '2026-03-07', 'd')",
        "delete from things where id = 2",
    )

    followed.run()

    assert followed.delivered(STREAM) == followed.expected(STREAM)
    assert len(followed.delivered(STREAM)) == 3


@pytest.mark.parametrize(
    ("identity", "streams"),
    [
        ("alter table things replica identity using index things_code", {}),
        ("alter table things replica identity full", {STREAM: {"key": ["code"]}}),
    ],
    ids=["a unique index", "a key of one's own"],
)
def test_rows_without_a_primary_key_are_told_apart_by(followed, identity, streams):
    followed.change(
        "create table things (code text not null, name text)",
        "create unique index things_code on things (code)",
        identity,
        "insert into things values ('a', 'x'), ('b', 'y')",
    )
    followed.run(streams=streams)
    followed.change(
        "update things set name = 'z' where code = 'a'",
        "update things set code = 'c' where code = 'b'",
    )

    followed.run(streams=streams)

    assert followed.delivered(STREAM) == followed.expected(STREAM)


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_pages_of_any_size_bring_every_transaction_whole(followed, page):
    followed.change("create table things (id int primary key, name text)")
    followed.run()
    followed.change(
        *[
            f"insert into things select n, 'x' from generate_series({k}, {k + 8}) n"
            for k in range(0, 90, 9)
        ]
    )
    followed.change(
        "begin; update things set name = 'y'; delete from things where id % 2 = 0; commit"
    )

    followed.run(cdc_page_changes=page)

    assert followed.delivered(STREAM) == followed.expected(STREAM)


def test_a_transaction_larger_than_the_memory_it_may_take_arrives_in_parts(followed):
    followed.change("create table things (id int primary key, name text)")
    followed.run()
    followed.change(
        "insert into things select n, repeat('x', 1000) from generate_series(1, 20000) n"
    )

    run = followed.run()

    assert len(run.records[STREAM]) == 20000
    assert len({record["_sdc_lsn"] for record in run.records[STREAM]}) == 1
