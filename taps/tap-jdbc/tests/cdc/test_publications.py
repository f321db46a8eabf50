# SPDX-License-Identifier: Apache-2.0
"""Publications that somebody else has made: what they leave out is told, not lost."""

from __future__ import annotations

import pytest

SLOT = "others"
TABLES = (
    "create table flat (id int primary key, v text, w int, g int generated always as (id) stored)",
    "create table parts (id int primary key, v text) partition by range (id)",
    "create table parts_1 partition of parts default",
)


@pytest.mark.parametrize(
    ("publication", "stream", "words"),
    [
        ("for table flat (id, v)", "public-flat", "leaves out columns of 'public.flat': ['w']"),
        ("for table flat where (id > 5)", "public-flat", "filters the rows of 'public.flat'"),
        ("for table parts", "public-parts", "changes of 'public.parts' as those of its partitions"),
    ],
)
def test_a_publication_that_leaves_something_out_is_told(source, publication, stream, words):
    source.execute(*TABLES, f"create publication others {publication}")

    run = source.command(
        replication_method="LOG_BASED",
        tables=[stream.removeprefix("public-")],
        cdc_slot=SLOT,
        cdc_publication=SLOT,
    )

    (skipped,) = (one for one in run.events if one.get("event") == "stream_skipped")
    assert words in skipped["reason"]
    assert "alter publication others" in skipped["next_step"]
