# SPDX-License-Identifier: Apache-2.0
"""Which requests follow a reply."""

from __future__ import annotations

import pytest

from ipai_kit.rest import (
    LinkHeader,
    NextToken,
    NextUrl,
    Offset,
    PageNumber,
    SinglePage,
)
from ipai_kit.rest.paginators import parse_links

API = "https://api.example.com"


def urls(calls):
    return [one.url for one in calls]


def test_a_link_header_is_read_with_several_relations():
    header = f'<{API}/a?x=1,2>; rel="next", <{API}/b>; title="t"; rel="last prev"'

    assert parse_links(header) == {
        "next": f"{API}/a?x=1,2",
        "last": f"{API}/b",
        "prev": f"{API}/b",
    }


def test_a_single_page_has_no_next(call, reply):
    assert SinglePage().follow(call(), reply([1]), 1) == []
    assert SinglePage().total(reply([1])) is None


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ("", []),
        (f'<{API}/x?page=2>; rel="next"', [f"{API}/x?page=2"]),
        (
            f'<{API}/y?a=1&page=2>; rel="next", <{API}/y?a=1&page=4>; rel="last"',
            [f"{API}/y?a=1&page={n}" for n in (2, 3, 4)],
        ),
        (
            f'<{API}/y?after=abc&page=2>; rel="next", <{API}/y?page=4>; rel="last"',
            [f"{API}/y?after=abc&page=2"],
        ),
        (f'<{API}/y?after=abc>; rel="next"', [f"{API}/y?after=abc"]),
        (f'<{API}/x?page=2>; rel="next", <{API}/x?page=2>; rel="last"', [f"{API}/x?page=2"]),
        ('</x?page=2>; rel="next"', [f"{API}/x?page=2"]),
    ],
)
def test_all_pages_up_to_a_numbered_last_one_are_known(call, reply, links, expected):
    following = LinkHeader().follow(
        call(f"{API}/x", params={"per_page": 100}), reply([], headers={"Link": links}), 100
    )

    assert expected == urls(following)
    assert all(one.params == {} for one in following)


def test_page_numbers_go_on_until_a_short_page(call, reply):
    pages = PageNumber(size_param="limit", size=2)
    first = pages.begin(call())
    (second,) = pages.follow(first, reply([]), 2)

    assert dict(first.params) == {"limit": 2, "page": 1}
    assert dict(second.params) == {"limit": 2, "page": 2}
    assert pages.follow(second, reply([]), 1) == []


@pytest.mark.parametrize(
    ("paginator", "body"),
    [
        (PageNumber(size=2, total_path="meta.total"), {"meta": {"total": 5}}),
        (PageNumber(size=2, pages_path="pages"), {"pages": 3}),
        (PageNumber(size=2, total_path="meta.total"), {"meta": {"total": "5"}}),
    ],
)
def test_all_pages_up_to_a_known_total_are_known(call, reply, paginator, body):
    following = paginator.follow(paginator.begin(call()), reply(body), 2)

    assert [one.params["page"] for one in following] == [2, 3]


def test_offsets_go_on_until_a_short_slice(call, reply):
    offsets = Offset(size=10)
    (second,) = offsets.follow(offsets.begin(call()), reply([]), 10)

    assert dict(second.params) == {"limit": 10, "offset": 10}
    assert offsets.follow(second, reply([]), 3) == []


def test_offsets_may_be_text_in_the_body(call, reply):
    offsets = Offset(size=10, total_path="rowCount", in_body=True, as_text=True)
    first = offsets.begin(call(method="POST", body={"q": 1}))
    following = offsets.follow(first, reply({"rowCount": 25}), 10)

    assert first.body == {"q": 1, "limit": "10", "offset": "0"}
    assert [one.body["offset"] for one in following] == ["10", "20"]


@pytest.mark.parametrize("body", [{}, {"nextPageToken": None}, {"nextPageToken": ""}])
def test_a_list_ends_without_a_token(call, reply, body):
    assert NextToken().follow(call(), reply(body), 5) == []


def test_a_token_names_the_next_page(call, reply):
    (following,) = NextToken("page.next", "cursor").follow(
        call(params={"a": 1}), reply({"page": {"next": "x="}}), 5
    )

    assert dict(following.params) == {"a": 1, "cursor": "x="}


def test_a_url_in_the_body_names_the_next_page(call, reply):
    (following,) = NextUrl("links.next").follow(
        call(params={"a": 1}), reply({"links": {"next": "/x?cursor=2"}}), 5
    )

    assert following.url == f"{API}/x?cursor=2"
    assert following.params == {}
    assert NextUrl("links.next").follow(call(), reply({"links": None}), 5) == []


def test_the_total_of_an_envelope_is_known(reply):
    assert LinkHeader(total_path="total_count").total(reply({"total_count": 7})) == 7
    assert LinkHeader(total_path="total_count").total(reply({"total_count": True})) is None
    assert LinkHeader().total(reply({"total_count": 7})) is None
