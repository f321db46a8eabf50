# SPDX-License-Identifier: Apache-2.0
"""Generated names: short enough, stable, and never shared."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_kit.spec import names

steady = settings(deadline=None)  # a machine under load is slow, not wrong

ANY_TEXT = st.text(min_size=1, max_size=90)
PAIRS = st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=2, max_size=8, unique=True)
PLAIN = st.from_regex(names.SOURCE_TYPE_PATTERN, fullmatch=True)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (names.bronze_schema("devops"), "ipai_bronze_devops"),
        (names.silver_schema("erp"), "ipai_silver_erp"),
        (names.gold_schema("core"), "ipai_gold_core"),
        (names.bronze_table("github", "issues"), "raw_github_issues"),
        (names.bronze_table("jdbc", "public-order_lines"), "raw_jdbc_public__order_lines"),
        (names.silver_table("github", "issues"), "github_issues"),
        (names.gold_view("devops", "ci_health"), "gold_devops_ci_health"),
        (names.job_name("github", "issues", "incremental"), "sync_github_issues_incremental"),
        (names.definition_name("google_ads"), "ipai_connector_google_ads"),
        (names.distribution_name("google_ads"), "ipai-connector-google-ads"),
        (names.command_name("google_ads"), "tap-google-ads"),
        (names.module_name("google_ads"), "tap_google_ads"),
    ],
)
def test_names_follow_the_constitution(made, expected):
    assert made == expected


def test_names_that_had_to_change_never_change_again():
    long = names.bronze_table("github", "x" * 80)

    assert long == "raw_github_" + "x" * 40 + "_h89a0c07d11"
    assert names.bronze_table("github", "Issues") == "raw_github_issues_h5f51a5cfe7"


@steady
@given(ANY_TEXT, ANY_TEXT)
def test_names_fit_postgres_and_need_no_quotes(source, stream):
    for name in (
        names.bronze_table(source, stream),
        names.silver_table(source, stream),
        names.job_name(source, stream, "full_table"),
    ):
        assert len(name.encode()) <= names.MAX_NAME_BYTES
        assert re.fullmatch(r"[a-z0-9_]+", name)


@steady
@given(PAIRS)
def test_two_streams_of_any_spelling_never_share_a_table(pairs):
    """Only plain names can, by where the source ends: ``a`` + ``b_c`` and ``a_b`` + ``c``."""
    tables = {}
    for source, stream in pairs:
        tables.setdefault(names.bronze_table(source, stream), set()).add(f"{source}_{stream}")

    assert all(len(spellings) == 1 for spellings in tables.values())


@steady
@given(st.lists(ANY_TEXT, min_size=2, max_size=8, unique=True))
def test_streams_of_one_source_never_share_a_table(streams):
    assert len({names.bronze_table("github", stream) for stream in streams}) == len(streams)


@steady
@given(st.lists(st.text("a-_", min_size=1, max_size=6), min_size=2, max_size=40, unique=True))
def test_hyphens_and_underscores_are_told_apart(streams):
    assert len({names.bronze_table("jdbc", stream) for stream in streams}) == len(streams)
    assert len({names.bronze_table("j_", stream) for stream in streams}) == len(streams)


@steady
@given(ANY_TEXT)
def test_a_name_that_looks_hashed_is_hashed_itself(stream):
    hashed = names.bronze_table("github", stream.upper() + "A").removeprefix("raw_github_")

    assert names.bronze_table("github", hashed) != f"raw_github_{hashed}"


@steady
@given(PLAIN, PLAIN)
def test_short_plain_names_stay_as_they_are(source, stream):
    plain = f"raw_{source}_{stream}"

    assert names.bronze_table(source, stream) == plain or len(plain) > names.MAX_NAME_BYTES


def test_a_clash_between_sources_is_found():
    clashes = names.name_clashes([("a", "b_c"), ("a_b", "c"), ("a", "d"), ("a", "d")])

    assert clashes == {"raw_a_b_c": [("a", "b_c"), ("a_b", "c")]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: names.bronze_schema("misc"), "Unknown domain 'misc'. Use one of: core"),
        (lambda: names.gold_view("misc", "x"), "Unknown domain 'misc'"),
        (lambda: names.job_name("a", "b", "delta"), "Unknown sync mode 'delta'. Use one of"),
        (lambda: names.definition_name("Git-Hub"), "'Git-Hub' is not a valid name"),
        (lambda: names.definition_name("a__b"), "'a__b' is not a valid name"),
    ],
)
def test_values_outside_the_closed_lists_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_spec_package_offers_every_name_it_lists_and_nothing_else() -> None:
    from ipai_kit import spec

    assert {name for name in dir(spec) if getattr(spec, name) is not None} == set(spec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = spec.missing
