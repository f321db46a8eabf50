# SPDX-License-Identifier: Apache-2.0
"""What a declared stream asks for, emits and remembers."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from ipai_kit.exceptions import ConfigurationError, InternalError, TryAgainLaterError
from ipai_kit.rest import LinkHeader, PageNumber, Reply, RestStream, Window

AT = "2024-01-0{}T00:00:00Z"


def issue(number, day=None):
    return {"id": number, "updated_at": AT.format(day or number)}


class Site:
    """Lists by path; a value may be a reply, a function of the call or a list of records."""

    def __init__(self, lists):
        self.lists = {"/repos": [{"id": 1}], **lists}
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        found = self.lists.get(urlsplit(call.url).path, [])
        found = found(call) if callable(found) else found
        if isinstance(found, Reply):
            return found
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        return Reply(200, {}, data, call.url)

    def asked(self, path):
        return [dict(one.params) for one in self.calls if urlsplit(one.url).path == path]


@pytest.fixture
def run(demo, run_demo):
    def make(lists, select=("repos", "issues"), **more):
        site = Site(lists)
        output = run_demo(demo.Transport(site), select=set(select), waiting=demo.Waiting(), **more)
        output.site = site
        return output

    return make


def partition(output, stream, context):
    found = output.state["bookmarks"][stream].get("partitions", [])
    return next(one for one in found if one["context"] == context)


def issues_state(day, **more):
    bookmark = {"replication_key": "updated_at", "replication_key_value": AT.format(day), **more}
    return {"bookmarks": {"issues": {"partitions": [{"context": {"repo": 1}, **bookmark}]}}}


# -- what is emitted ----------------------------------------------------------------------------


def test_the_schema_names_source_and_domain(run):
    output = run({})

    assert [one["schema"]["x-ipai"] for one in output.of("SCHEMA")] == [
        {"source": "demo", "domain": "devops"}
    ] * 2


def test_the_raw_lane_keeps_every_byte_of_a_record(run):
    record = (
        b'{"id":1, "updated_at":"2024-01-01T00:00:00Z","big":9223372036854775807,"n":'
        b'12345678901234567890.123456789012345678,"x":1e5,"u":"\\u00e9\xc3\xa9","new":{"k":[]}}'
    )
    output = run({"/repos/1/issues": b"[" + record + b"]"})
    line = next(one for one in output.lines if b'"stream":"issues","record"' in one)

    assert record[:-1] + b',"_repo":1}' in line


def test_line_breaks_between_tokens_become_spaces(run):
    output = run({"/repos/1/issues": json.dumps([issue(1), issue(2)], indent=2).encode()})

    assert output.records("issues") == [{**issue(1), "_repo": 1}, {**issue(2), "_repo": 1}]


def test_context_fields_fit_into_a_record_without_members(run):
    output = run({"/repos/1/labels": b"[{},{ },{\n\n}]"}, select=("labels",))

    assert output.records("labels") == [{"_repo": 1}] * 3


@pytest.mark.parametrize("setting", ["map", "filter", "deselect", "flatten"])
def test_the_dict_lane_keeps_digits_and_unknown_fields(demo, run, setting):
    number = b"12345678901234567890.123456789012345678"
    exact = b'{"id":1,"extra":5,"n":' + number + b',"new":{"k":9223372036854775807}}'
    config = {
        "map": {"stream_maps": {"labels": {"__alias__": "tags"}}},
        "filter": {"stream_maps": {"labels": {"__filter__": "id == 1"}}},
        "flatten": {"flattening_enabled": True, "flattening_max_depth": 1},
        "deselect": {},
    }[setting]
    catalog = None
    if setting == "deselect":
        catalog = json.loads(json.dumps(demo.Tap(config={}).catalog_dict))
        for one in catalog["streams"]:
            for entry in one["metadata"]:
                entry["metadata"]["selected"] = entry["breadcrumb"][-1:] != ["extra"]
    lists = {"/repos/1/labels": b"[" + exact + b',{"id":2}]'}
    output = run(lists, select=("labels",), config=config, catalog=catalog)
    stream = "tags" if setting == "map" else "labels"
    line = next(one for one in output.lines if f'"stream":"{stream}","record"'.encode() in one)

    assert b'"n":' + number in line
    assert b"9223372036854775807" in line
    assert (b'"extra":5' in line) is (setting != "deselect")
    assert len(output.records(stream)) == (1 if setting == "filter" else 2)


def test_a_filtered_parent_has_no_children(run):
    config = {"stream_maps": {"issues": {"__filter__": "id == 2"}}}
    lists = {"/repos/1/issues": [issue(1), issue(2)]}
    output = run(lists, select=("issues", "comments"), config=config)

    assert output.site.asked("/repos/1/issues/1/comments") == []
    assert output.site.asked("/repos/1/issues/2/comments") == [{}]


def test_post_process_may_change_and_drop_records(demo, run):
    class Even(demo.Labels):
        def post_process(self, row, context=None):
            return {**row, "twice": row["id"] * 2} if row["id"] % 2 == 0 else None

    class Tap(demo.Tap):
        stream_types = (demo.Repos, Even)

    output = run({"/repos/1/labels": [{"id": 1}, {"id": 2}]}, select=("labels",), tap_class=Tap)

    assert output.records("labels") == [{"id": 2, "_repo": 1, "twice": 4}]


def test_children_of_an_unselected_parent_are_read(run):
    output = run({"/repos/1/labels": [{"id": 1}]}, select=("labels",))

    assert output.of("RECORD", "repos") == []
    assert output.records("labels") == [{"id": 1, "_repo": 1}]


def test_an_envelope_is_opened(run):
    lists = {"/repos/1/runs": {"workflow": {"runs": [issue(2), issue(1)], "total": 2}}}
    output = run(lists, select=("runs",))

    assert [one["id"] for one in output.records("runs")] == [2, 1]


def test_an_envelope_without_its_list_is_our_bug_to_mend(run):
    output = run({"/repos/1/runs": {"message": "moved"}}, select=("runs",))

    assert isinstance(output.error, InternalError)
    assert "'workflow.runs'" in str(output.error)


def test_records_that_are_not_objects_are_refused(run):
    output = run({"/repos/1/labels": [1, 2]}, select=("labels",))

    assert isinstance(output.error, InternalError)


def test_a_path_that_the_context_cannot_fill_is_named(demo, run):
    class Wrong(demo.Labels):
        path = "/repos/{owner}/labels"

    class Tap(demo.Tap):
        stream_types = (demo.Repos, Wrong)

    output = run({}, select=("labels",), tap_class=Tap)

    assert "'owner'" in str(output.error)


def test_bytes_that_are_not_utf8_are_asked_for_again(run):
    bodies = iter([b'[{"id":1,"x":"\xff"}]', b'[{"id":1,"x":"y"}]'])
    output = run(
        {"/repos/1/labels": lambda call: Reply(200, {}, next(bodies), call.url)}, select=("labels",)
    )

    assert output.records("labels") == [{"id": 1, "x": "y", "_repo": 1}]


# -- what is remembered -------------------------------------------------------------------------


def test_the_bookmark_is_the_latest_of_all_rows_and_never_goes_back(run):
    first = run({"/repos/1/issues": [issue(1, 3), issue(2, 5)]})
    second = run({"/repos/1/issues": [issue(1, 3)]}, state=first.state)

    assert partition(first, "issues", {"repo": 1})["replication_key_value"] == AT.format(5)
    assert partition(second, "issues", {"repo": 1})["replication_key_value"] == AT.format(5)


def test_the_source_is_asked_from_the_bookmark_on(run):
    output = run({}, state=issues_state(5))

    assert output.site.asked("/repos/1/issues") == [{"since": AT.format(5)}]


def test_what_was_emitted_at_the_boundary_is_not_emitted_again(run):
    lists = {"/repos/1/issues": [issue(1, 4), issue(2, 5), issue(3, 5)]}
    first = run(lists)
    second = run({"/repos/1/issues": [issue(2, 5), issue(3, 5), issue(4, 5)]}, state=first.state)

    assert [one["id"] for one in second.records("issues")] == [4]


def test_a_record_that_changed_within_the_boundary_is_emitted(run):
    first = run({"/repos/1/issues": [issue(1, 5)]})
    changed = {**issue(1, 5), "state": "closed"}
    second = run({"/repos/1/issues": [changed]}, state=first.state)

    assert second.records("issues") == [{**changed, "_repo": 1}]


def test_too_many_records_at_the_boundary_are_emitted_again(run):
    lists = {"/repos/1/issues": [issue(n, 5) for n in range(80)]}
    second = run(lists, state=run(lists).state)

    assert len(second.records("issues")) == 80


def test_a_lookback_reads_again_what_may_have_changed(run):
    runs = {"workflow": {"runs": [issue(9, 9), issue(7, 7), issue(6, 6), issue(1, 1)]}}
    first = run({"/repos/1/runs": runs}, select=("runs",))
    second = run({"/repos/1/runs": runs}, select=("runs",), state=first.state)

    assert [one["id"] for one in second.records("runs")] == [9, 7]


def test_a_descending_list_is_left_below_the_start(demo, run):
    class Numbered(demo.Runs):
        paginator = PageNumber(size=2)

    class Tap(demo.Tap):
        stream_types = (demo.Repos, Numbered)

    pages = [[issue(9, 9), issue(8, 8)], [issue(7, 7), issue(3, 3)], [issue(2, 2)]]
    lists = {"/repos/1/runs": lambda call: json_reply(call, pages[call.params["page"] - 1])}
    state = json.loads(json.dumps(issues_state(9)).replace("issues", "runs"))
    output = run(lists, select=("runs",), tap_class=Tap, state=state)

    assert [one["id"] for one in output.records("runs")] == [9, 8, 7]
    assert len(output.site.asked("/repos/1/runs")) == 2


def json_reply(call, runs):
    return Reply(200, {}, json.dumps({"workflow": {"runs": runs}}).encode(), call.url)


@pytest.mark.parametrize("config", [{"full_refresh": True}, {}])
def test_a_full_refresh_asks_for_everything(run, config):
    state = issues_state(5) if config else None
    output = run({"/repos/1/issues": [issue(1)]}, config=config, state=state)

    assert output.site.asked("/repos/1/issues") == [{}]
    assert len(output.records("issues")) == 1


@pytest.mark.parametrize(("day", "expected"), [(1, 3), (5, 5)])
def test_nothing_before_the_start_date_is_asked_for(run, day, expected):
    config = {"start_date": AT.format(3)}
    output = run({}, config=config, state=issues_state(day))

    assert output.site.asked("/repos/1/issues") == [{"since": AT.format(expected)}]


def test_a_bookmark_of_another_key_is_not_used(run):
    state = issues_state(5)
    state["bookmarks"]["issues"]["partitions"][0]["replication_key"] = "created_at"

    assert run({}, state=state).site.asked("/repos/1/issues") == [{}]


def test_a_cursor_in_the_future_is_bounded_by_the_start_of_the_run(run):
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    output = run({"/repos/1/issues": [{"id": 1, "updated_at": later}]})
    bookmark = partition(output, "issues", {"repo": 1})

    assert len(output.records("issues")) == 1
    assert datetime.fromisoformat(bookmark["replication_key_value"]) <= datetime.now(UTC)
    assert "boundary" not in bookmark


def test_a_record_without_cursor_is_emitted_and_moves_nothing(run):
    output = run({"/repos/1/issues": [{"id": 1, "updated_at": None}, issue(2)]})

    assert [one["id"] for one in output.records("issues")] == [1, 2]
    assert partition(output, "issues", {"repo": 1})["replication_key_value"] == AT.format(2)


def test_the_catalog_may_force_a_full_table(demo, run):
    catalog = json.loads(json.dumps(demo.Tap(config={}).catalog_dict))
    for one in catalog["streams"]:
        one["metadata"][0]["metadata"]["selected"] = True
        root = next(entry for entry in one["metadata"] if not entry["breadcrumb"])
        root["metadata"] |= {"selected": True, "forced-replication-method": "FULL_TABLE"}
        one["replication_method"] = "FULL_TABLE"
    output = run({"/repos/1/issues": [issue(1)]}, catalog=catalog, state=issues_state(5))

    assert output.site.asked("/repos/1/issues") == [{}]


# -- children that a parent's cursor drives -----------------------------------------------------

BOTH = ("issues", "comments")


def test_a_driven_child_keeps_the_cursor_of_its_parent(run):
    output = run({"/repos/1/issues": [issue(1), issue(3)]}, select=BOTH)
    bookmark = partition(output, "comments", {"repo": 1})

    assert bookmark["replication_key"] == "issues.updated_at"
    assert bookmark["replication_key_value"] == AT.format(3)


def test_a_child_selected_later_catches_up(run):
    lists = {
        "/repos/1/issues": [issue(1), issue(3)],
        "/repos/1/issues/1/comments": [{"id": 7}],
        "/repos/1/issues/3/comments": [{"id": 8}],
    }
    first = run(lists, select=("issues",))
    second = run(lists, select=BOTH, state=first.state)

    assert second.site.asked("/repos/1/issues") == [{}]
    assert [one["id"] for one in second.records("comments")] == [7, 8]
    assert second.records("issues") == []


def test_only_children_of_what_changed_are_visited(run):
    first = run({"/repos/1/issues": [issue(1), issue(3)]}, select=BOTH)
    second = run({"/repos/1/issues": [issue(3), issue(1, 5)]}, select=BOTH, state=first.state)

    paths = [urlsplit(one.url).path for one in second.site.calls]
    assert sorted(paths) == [
        "/repos",
        "/repos/1/issues",
        "/repos/1/issues/1/comments",
        "/repos/1/issues/3/comments",
    ]


def test_a_driven_child_is_incremental_in_the_catalog(demo):
    catalog = demo.Tap(config={}).catalog_dict
    methods = {one["tap_stream_id"]: one["replication_method"] for one in catalog["streams"]}

    assert methods["comments"] == "INCREMENTAL"
    assert methods["labels"] == "FULL_TABLE"


def test_a_child_without_permission_is_left_out_and_read_from_its_bookmark_later(run):
    forbidden = {f"/repos/1/issues/{n}/comments": status(403) for n in (1, 2, 3)}
    lists = {"/repos/1/issues": [issue(1), issue(2)]}
    first = run({**lists, **forbidden}, select=BOTH)

    assert first.error is None
    assert len(first.records("issues")) == 2
    assert partition(first, "comments", {"repo": 1}) == {"context": {"repo": 1}, "refused": True}

    second = run({"/repos/1/issues": [issue(3)], **forbidden}, select=BOTH, state=first.state)
    assert second.site.asked("/repos/1/issues") == [{"since": AT.format(2)}]

    allowed = {"/repos/1/issues": [issue(4)], "/repos/1/issues/4/comments": [{"id": 1}]}
    third = run(allowed, select=BOTH, state=second.state)
    assert "refused" not in partition(third, "comments", {"repo": 1})

    fourth = run({**lists, **allowed}, select=BOTH, state=third.state)
    assert fourth.site.asked("/repos/1/issues") == [{}]


def status(code, headers=None):
    return lambda call: Reply(code, headers or {}, b"{}", call.url)


# -- what is left out ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [403, 404, 410, 451])
def test_one_partition_that_cannot_be_read_does_not_stop_the_others(run, code):
    lists = {
        "/repos": [{"id": 1}, {"id": 2}],
        "/repos/1/issues": status(code),
        "/repos/2/issues": [issue(1)],
    }
    output = run(lists)

    assert output.error is None
    assert output.records("issues") == [{**issue(1), "_repo": 2}]


def test_a_status_may_mean_zero_records(run):
    output = run({"/repos/1/issues": status(409)})

    assert output.error is None
    assert output.records("issues") == []


def test_a_root_that_is_not_there_is_a_question_of_configuration(run):
    assert isinstance(run({"/repos": status(404)}).error, ConfigurationError)


def test_what_was_finished_before_an_error_is_kept_in_state(run):
    lists = {
        "/repos": [{"id": 1}, {"id": 2}],
        "/repos/1/issues": [issue(1)],
        "/repos/2/issues": status(500),
    }
    output = run(lists)

    assert isinstance(output.error, TryAgainLaterError)
    assert partition(output, "issues", {"repo": 1})["replication_key_value"] == AT.format(1)


def test_a_failing_slice_does_not_stop_the_others(run):
    lists = {
        "/repos": [{"id": 1}, {"id": 2}],
        "/repos/1/issues": status(500),
        "/repos/2/issues": [issue(1)],
    }
    output = run(lists)

    assert isinstance(output.error, TryAgainLaterError)
    assert output.records("issues") == [{**issue(1), "_repo": 2}]
    assert partition(output, "issues", {"repo": 2})["replication_key_value"] == AT.format(1)
    assert len(output.state["bookmarks"]["issues"]["partitions"]) == 1


def test_a_stream_that_asks_wrongly_is_not_asked_for_again(run):
    lists = {
        "/repos": [{"id": 1}, {"id": 2}],
        "/repos/1/issues": status(422),
        "/repos/2/issues": [issue(1)],
        "/repos/2/labels": [{"id": 1}],
    }
    output = run(lists, select=("repos", "issues", "labels"))

    assert isinstance(output.error, InternalError)
    assert output.records("issues") == []
    assert output.records("labels") == [{"id": 1, "_repo": 2}]


@pytest.mark.parametrize("code", [500, 422])
def test_a_failing_child_keeps_its_bookmark_while_its_parent_moves_on(run, code):
    lists = {"/repos/1/issues": [issue(1), issue(2)], "/repos/1/issues/1/comments": status(code)}
    output = run(lists, select=BOTH)

    assert output.error is not None
    assert partition(output, "issues", {"repo": 1})["replication_key_value"] == AT.format(2)
    assert output.state["bookmarks"]["comments"] == {}

    healthy = {**lists, "/repos/1/issues/1/comments": [{"id": 9}]}
    again = run(healthy, select=BOTH, state=output.state)
    assert [one["id"] for one in again.records("comments")] == [9]


def test_what_came_before_the_budget_was_spent_is_not_lost(run):
    def slow(call):
        time.sleep(0.05)
        page = int(dict(parse_qsl(urlsplit(call.url).query)).get("page", 1))
        link = f'<https://api.example.com/repos/1/issues?page={page + 1}>; rel="next"'
        return Reply(200, {"link": link}, json.dumps([issue(page)]).encode(), call.url)

    others = {f"/repos/{n}/issues": [issue(n)] for n in range(2, 6)}
    lists = {"/repos": [{"id": n} for n in range(1, 6)], "/repos/1/issues": slow, **others}
    output = run(lists, config={"requests_per_run": 8})

    assert isinstance(output.error, TryAgainLaterError)
    assert output.error.for_all
    assert len(output.site.calls) == 8
    for repo in range(2, 6):
        assert partition(output, "issues", {"repo": repo})["replication_key_value"]


def test_a_list_that_is_not_ascending_is_told_and_not_saved_on_the_way(run):
    def issues(call):
        if "page=2" in call.url:
            return Reply(500, {}, b"", call.url)
        link = '<https://api.example.com/repos/1/issues?page=2>; rel="next"'
        return Reply(200, {"link": link}, json.dumps([issue(5), issue(3)]).encode(), call.url)

    output = run({"/repos/1/issues": issues})

    assert output.state["bookmarks"].get("issues", {}) == {}


# -- conditional requests -----------------------------------------------------------------------


def test_an_unchanged_list_is_not_sent_twice(run):
    def labels(call):
        if call.headers.get("If-None-Match") == '"v1"':
            return Reply(304, {}, b"", call.url)
        return Reply(200, {"etag": '"v1"'}, b'[{"id":1}]', call.url)

    first = run({"/repos/1/labels": labels}, select=("labels",))
    second = run({"/repos/1/labels": labels}, select=("labels",), state=first.state)
    again = run(
        {"/repos/1/labels": labels},
        select=("labels",),
        state=second.state,
        config={"full_refresh": True},
    )

    assert partition(first, "labels", {"repo": 1})["etag"] == '"v1"'
    assert second.records("labels") == []
    assert partition(second, "labels", {"repo": 1})["etag"] == '"v1"'
    assert len(again.records("labels")) == 1


def test_an_etag_of_a_list_with_children_or_more_pages_is_not_used(run):
    def repos(call):
        assert "If-None-Match" not in call.headers
        return Reply(200, {"etag": '"r"'}, b'[{"id":1}]', call.url)

    def labels(call):
        link = (
            ""
            if "page=2" in call.url
            else '<https://api.example.com/repos/1/labels?page=2>; rel="next"'
        )
        return Reply(200, {"etag": '"l"', "link": link}, b'[{"id":1}]', call.url)

    lists = {"/repos": repos, "/repos/1/labels": labels}
    first = run(lists, select=("repos", "labels"))
    second = run(lists, select=("repos", "labels"), state=first.state)

    assert first.state["bookmarks"]["labels"] == {}
    assert len(second.records("labels")) == 2


# -- versions -----------------------------------------------------------------------------------

VERSIONED = {"emit_activate_version_messages": True}


def test_a_version_is_activated_after_its_records(run):
    output = run({"/repos/1/labels": [{"id": 1}]}, select=("repos", "labels"), config=VERSIONED)
    kinds = [(one["type"], one.get("stream")) for one in output.messages]
    activated = output.of("ACTIVATE_VERSION")

    assert [one["stream"] for one in activated] == ["repos", "labels"]
    assert {one["version"] for one in output.of("RECORD")} == {activated[0]["version"]}
    assert kinds.index(("RECORD", "labels")) < kinds.index(("ACTIVATE_VERSION", "labels"))


def test_no_version_is_activated_when_a_part_was_left_out(run):
    lists = {"/repos": [{"id": 1}, {"id": 2}], "/repos/2/labels": status(404)}
    output = run(lists, select=("repos", "labels"), config=VERSIONED)

    assert [one["stream"] for one in output.of("ACTIVATE_VERSION")] == ["repos"]


@pytest.mark.parametrize(
    ("config", "activated"),
    [
        ({}, []),
        ({"full_refresh": True}, ["issues", "comments"]),
        ({"full_refresh": True, "start_date": AT.format(1)}, []),
    ],
)
def test_an_incremental_stream_has_a_version_only_when_read_whole(run, config, activated):
    output = run({"/repos/1/issues": [issue(1)]}, select=BOTH, config={**VERSIONED, **config})

    assert [one["stream"] for one in output.of("ACTIVATE_VERSION")] == activated


# -- other hooks --------------------------------------------------------------------------------


def test_a_capped_query_is_divided_until_each_part_fits(demo, run):
    class Capped(demo.RepoStream):
        name = "runs"
        path = "/repos/{repo}/runs"
        records_path = "runs"
        replication_key = "updated_at"
        primary_keys = ("_repo", "id")
        paginator = LinkHeader(total_path="total")
        result_cap = 3
        schema = demo.schema("id", "_repo", cursor="updated_at")

        def partition_windows(self, start, context):
            begin = datetime.fromisoformat(start or "2024-01-01T00:00:00Z")
            return [Window(begin, datetime(2024, 1, 9, tzinfo=UTC))]

        def window_params(self, window):
            return {"from": window.start.isoformat(), "to": window.end.isoformat()}

    class Tap(demo.Tap):
        stream_types = (demo.Repos, Capped)

    everything = [issue(n, n) for n in range(1, 9)]

    def runs(call):
        found = [
            one
            for one in everything
            if call.params["from"] <= one["updated_at"] < call.params["to"].replace("+00:00", "Z")
        ]
        body = {"total": len(found), "runs": found[:3]}
        return Reply(200, {}, json.dumps(body).encode(), call.url)

    output = run({"/repos/1/runs": runs}, select=("runs",), tap_class=Tap)

    assert [one["id"] for one in output.records("runs")] == list(range(1, 9))
    assert len(output.site.asked("/repos/1/runs")) == 7


def test_a_window_too_short_to_divide_is_read_as_it_is():
    moment = datetime(2024, 1, 1, tzinfo=UTC)

    assert Window(moment, moment + timedelta(seconds=1)).halves() == []
    assert len(Window(moment, moment + timedelta(seconds=2)).halves()) == 2


def test_a_child_may_decline_a_parent(demo, run):
    class Picky(demo.Labels):
        def accepts_context(self, context):
            return context["repo"] != 1

    class Tap(demo.Tap):
        stream_types = (demo.Repos, Picky)

    output = run({"/repos": [{"id": 1}, {"id": 2}]}, select=("labels",), tap_class=Tap)

    assert [urlsplit(one.url).path for one in output.site.calls] == ["/repos", "/repos/2/labels"]


def test_root_partitions_and_paths_may_depend_on_the_context(demo, run):
    class Named(RestStream):
        name = "repos"
        primary_keys = ("id",)
        schema = demo.schema("id")

        @property
        def partitions(self):
            return [{"name": one} for one in self.config["repositories"]]

        def path_for(self, context):
            return "/orgs/{name}" if context["name"].isupper() else "/repos/{name}"

    class Tap(demo.Tap):
        stream_types = (Named,)

    lists = {"/repos/a%2Fb": {"id": 1}, "/orgs/X": [{"id": 2}]}
    output = run(lists, select=("repos",), tap_class=Tap, config={"repositories": ["a/b", "X"]})

    assert [one["id"] for one in output.records("repos")] == [1, 2]


def test_a_child_that_its_parent_does_not_tell_about_is_always_visited(demo, run):
    class Parent(demo.Repos):
        replication_key = "updated_at"
        schema = demo.schema("id", cursor="updated_at")

    class Child(demo.Labels):
        parent = Parent
        ignore_parent_replication_key = True

    class Tap(demo.Tap):
        stream_types = (Parent, Child)

    lists = {"/repos": [issue(1)], "/repos/1/labels": [{"id": 1}]}
    first = run(lists, select=("repos", "labels"), tap_class=Tap)
    second = run(lists, select=("repos", "labels"), tap_class=Tap, state=first.state)

    assert len(second.records("labels")) == 1


def test_the_records_of_one_context_can_be_had_as_dicts(demo):
    tap = demo.Tap(config={})
    tap.transport = demo.Transport(Site({"/repos/1/labels": [{"id": 5}]}))

    assert list(tap.streams["labels"].get_records({"repo": 1})) == [{"id": 5, "_repo": 1}]
