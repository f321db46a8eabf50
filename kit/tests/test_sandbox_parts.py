# SPDX-License-Identifier: Apache-2.0
"""The parts of a stand-in that need no server: data, pages, limits, callers, faults."""

import base64
import json
import time
import urllib.parse
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from ipai_kit import sandbox
from ipai_kit.sandbox.auth import JWT_BEARER_GRANT
from ipai_kit.sandbox.faults import FaultQueue, broken_json, retyped
from ipai_kit.sandbox.statistics import Statistics

steady = settings(deadline=None)  # a machine under load is slow, not wrong


def make_request(path="/items", query="", *, method="GET", headers=None, body=b""):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    pairs = {"host": "127.0.0.1:8000", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
    }
    return Request(scope, receive)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


# -- data -----------------------------------------------------------------------------------------


def test_values_depend_on_seed_and_key_only():
    first, second = sandbox.Seeded(7), sandbox.Seeded(7)

    assert first.number("a", 1) == second.number("a", 1)
    assert first.number("a", 1) != sandbox.Seeded(8).number("a", 1)
    assert [first.number("a", index, low=1, high=6) for index in range(6)] == [6, 6, 4, 2, 3, 1]
    assert first.hexadecimal("a", length=7) == "c9b0b32"


@steady
@given(st.integers(), st.integers(), st.integers(0, 1000))
def test_values_stay_in_their_bounds(key, low, width):
    seeded = sandbox.Seeded(1)

    assert low <= seeded.number(key, low=low, high=low + width) <= low + width
    assert 0 <= seeded.unit(key) < 1
    assert len(seeded.hexadecimal(key, length=width % 60 + 1)) == width % 60 + 1
    assert seeded.choice("abc", key) in "abc"
    assert len(seeded.text(["one", "two"], key, count=3).split()) == 3
    assert (
        sandbox.EPOCH <= seeded.moment(key, span=timedelta(days=2)) < sandbox.EPOCH + timedelta(2)
    )


def test_chances_come_true_about_as_often_as_they_say():
    seeded = sandbox.Seeded(1)

    assert 250 < sum(seeded.chance("c", index, of=0.3) for index in range(1000)) < 350


def test_lazy_records_are_made_when_they_are_read():
    made = []
    records = sandbox.LazyRecords(10**9, lambda index: made.append(index) or index)

    assert records[999_999_998:] == [999_999_998, 999_999_999]
    assert records[-1] == 999_999_999
    assert len(made) == 3
    with pytest.raises(IndexError, match="Record 1000000000 does not exist"):
        records[10**9]


def test_zulu_writes_utc():
    moment = datetime(2026, 1, 31, 13, tzinfo=UTC).astimezone()

    assert sandbox.zulu(moment) == "2026-01-31T13:00:00Z"


# -- pages ----------------------------------------------------------------------------------------


def _follow(style, items, **options):
    """Read all pages as a client does; returns the items and the number of pages."""
    found, query, pages = [], "", 0
    while query is not None:
        page = style(make_request(query=query), items, **options)
        found += page.items
        pages += 1
        query = None
        if page.next is not None:
            query = _next_query(style, page)
    return found, pages


def _next_query(style, page):
    if style is sandbox.link_header:
        url = page.headers["link"].split('>; rel="next"')[0].rpartition("<")[2]
        return urllib.parse.urlsplit(url).query
    if style is sandbox.next_url:
        return urllib.parse.urlsplit(page.next).query
    name = {
        sandbox.page_number: "page",
        sandbox.offset: "offset",
        sandbox.cursor_token: "page_token",
    }[style]
    return urllib.parse.urlencode({name: page.next})


STYLES = [
    sandbox.link_header,
    sandbox.page_number,
    sandbox.offset,
    sandbox.cursor_token,
    sandbox.next_url,
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", [0, 1, 29, 30, 31, 95])
def test_following_the_pages_gives_every_item_once(style, count):
    found, pages = _follow(style, range(count))

    assert found == list(range(count))
    assert pages == max(1, -(-count // 30))


def test_link_headers_name_all_neighbours():
    request = make_request(query="page=2&per_page=10&state=a%26b")

    page = sandbox.link_header(request, range(35), path="/elsewhere")

    assert page.items == list(range(10, 20))
    assert [link.split("; ")[1] for link in page.headers["link"].split(", ")] == [
        'rel="prev"',
        'rel="first"',
        'rel="next"',
        'rel="last"',
    ]
    assert (
        "<http://127.0.0.1:8000/elsewhere?page=4&per_page=10&state=a%26b>" in page.headers["link"]
    )


@pytest.mark.parametrize(
    ("query", "size"),
    [("", 30), ("per_page=7", 7), ("per_page=500", 100), ("per_page=0", 1), ("per_page=x", 30)],
)
def test_page_sizes_are_bounded_as_apis_do_it(query, size):
    assert len(sandbox.link_header(make_request(query=query), range(200)).items) == size


@pytest.mark.parametrize("style", [sandbox.link_header, sandbox.page_number, sandbox.offset])
def test_a_page_beyond_the_end_is_empty(style):
    page = style(make_request(query="page=99&offset=999"), range(35))

    assert (page.items, page.next, page.total) == ([], None, 35)


@pytest.mark.parametrize(
    "token", ["nonsense", "YXQ6eA==", base64.b64encode(b"\xff").decode(), "b2s="]
)
def test_a_foreign_page_token_is_refused(token):
    with pytest.raises(sandbox.Refused) as caught:
        sandbox.cursor_token(make_request(query=f"page_token={token}"), range(35))

    assert caught.value.reply.status == 400


# -- limits ---------------------------------------------------------------------------------------


def test_a_quota_refuses_what_is_too_much_until_its_window_ends():
    clock = Clock()
    quota = sandbox.WindowQuota(2, window_seconds=60, clock=clock)

    verdicts = [quota.admit("me") for _ in range(3)]

    assert [one.headers["x-ratelimit-remaining"] for one in verdicts] == ["1", "0", "0"]
    assert verdicts[2].rejection.status == 429
    assert verdicts[2].headers["retry-after"] == "60"
    assert verdicts[2].headers["x-ratelimit-reset"] == "1060"
    assert quota.admit("you").rejection is None
    clock.now += 60
    assert quota.admit("me").rejection is None
    assert (quota.remaining("me"), quota.remaining("nobody")) == (1, 2)


def test_a_quota_speaks_the_vendors_language():
    names = {"remaining": "X-Left", "reset_after": "X-Seconds"}
    quota = sandbox.WindowQuota(
        0,
        status=403,
        header_names=names,
        extra_headers={"X-Resource": "core"},
        retry_after=False,
        body={"error": "quota"},
    )

    verdict = quota.admit("me")

    assert dict(verdict.headers) == {"X-Left": "0", "X-Seconds": "3600", "X-Resource": "core"}
    assert (verdict.rejection.status, verdict.rejection.body) == (403, {"error": "quota"})


def test_a_request_that_does_not_count_is_given_back():
    quota = sandbox.WindowQuota(2)
    quota.admit("me")

    assert quota.release("me", refund=False) == {}
    assert quota.release("you", refund=True) == {}
    assert quota.release("me", refund=True)["x-ratelimit-remaining"] == "2"
    quota.reset()
    assert quota.remaining("me") == 2


def test_a_burst_is_counted_over_any_second():
    clock = Clock()
    limit = sandbox.BurstLimit(3, seconds=1, clock=clock)
    results = []
    for _ in range(8):
        results.append(limit.admit("me").rejection is None)
        limit.release("me", refund=False)
        clock.now += 0.25

    assert results == [True, True, True, False, True, True, True, False]
    limit.reset()
    assert limit.admit("me").rejection is None


def test_only_so_many_requests_run_at_the_same_time():
    limit = sandbox.ConcurrencyLimit(2)

    assert [limit.admit("me").rejection is None for _ in range(3)] == [True, True, False]
    assert limit.admit("me").headers == {"retry-after": "1"}
    limit.release("me", refund=False)
    assert limit.admit("me").rejection is None
    limit.reset()
    assert limit.admit("me").rejection is None


# -- callers --------------------------------------------------------------------------------------


def _basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def keys():
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def _assertion(private, **claims):
    now = int(time.time())
    return jwt.encode({"iss": "app-1", "iat": now, "exp": now + 60, **claims}, private, "RS256")


@pytest.mark.parametrize(
    ("way", "headers", "query", "caller"),
    [
        (sandbox.open_access, {}, "", "anonymous"),
        (sandbox.TokenAuth({"t"}), {"authorization": "Bearer t"}, "", "t"),
        (sandbox.TokenAuth({"t"}, schemes=("token",)), {"authorization": "token t"}, "", "t"),
        (sandbox.TokenAuth({"t"}, optional=True), {}, "", "anonymous"),
        (sandbox.TokenAuth({"t"}), {"authorization": "Bearer x"}, "", None),
        (sandbox.TokenAuth({"t"}, optional=True), {"authorization": "Bearer x"}, "", None),
        (sandbox.TokenAuth({"t"}), {"authorization": "Basic t"}, "", None),
        (sandbox.TokenAuth({"t"}), {}, "", None),
        (sandbox.BasicAuth({"me": "pw:1"}), {"authorization": _basic("me", "pw:1")}, "", "me"),
        (sandbox.BasicAuth({"me": "pw"}), {"authorization": _basic("me", "no")}, "", None),
        (sandbox.BasicAuth({"me": "pw"}), {"authorization": "Basic ???"}, "", None),
        (sandbox.BasicAuth({"me": "pw"}), {}, "", None),
        (sandbox.ApiKeyAuth({"k"}, "x-key"), {"x-key": "k"}, "", "k"),
        (sandbox.ApiKeyAuth({"k"}, "key", "query"), {}, "key=k", "k"),
        (sandbox.ApiKeyAuth({"k"}, "key", "query"), {}, "", None),
        (
            sandbox.AnyAuth(sandbox.TokenAuth({"t"}), sandbox.ApiKeyAuth({"k"}, "x-key")),
            {"x-key": "k"},
            "",
            "k",
        ),
        (sandbox.AnyAuth(sandbox.TokenAuth({"t"})), {}, "", None),
        (sandbox.AnyAuth(), {}, "", None),
    ],
)
def test_callers_are_known_or_refused(way, headers, query, caller):
    request = make_request(query=query, headers=headers)
    if caller is not None:
        assert way(request) == caller
        return
    with pytest.raises(sandbox.Refused) as caught:
        way(request)
    assert caught.value.reply.status == 401


def test_a_signed_token_names_its_issuer(keys):
    private, public = keys
    way = sandbox.JwtAuth(public, issuer="app-1", max_lifetime_seconds=600)
    request = make_request(headers={"authorization": f"Bearer {_assertion(private)}"})

    assert way(request) == "app-1"


@pytest.mark.parametrize("claims", [{"exp": 1}, {"exp": 9_999_999_999}, {"iss": "other"}])
def test_a_bad_signed_token_is_refused(keys, claims):
    private, public = keys
    way = sandbox.JwtAuth(public, issuer="app-1", max_lifetime_seconds=600)
    request = make_request(headers={"authorization": f"Bearer {_assertion(private, **claims)}"})

    with pytest.raises(sandbox.Refused):
        way(request)


async def _token(server, headers=None, **fields):
    body = urllib.parse.urlencode(fields).encode()
    return (await server.token(make_request(method="POST", body=body, headers=headers))).body


def _bearer(token):
    return make_request(headers={"authorization": f"Bearer {token}"})


CLIENT = {"client_id": "c", "client_secret": "s"}


def _await(coroutine):
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError


def test_refresh_tokens_rotate_and_access_tokens_expire():
    clock = Clock()
    server = sandbox.OAuthServer(
        {"c": "s"}, refresh_tokens={"first"}, lifetime_seconds=60, clock=clock
    )
    refresh = {"grant_type": "refresh_token", **CLIENT}

    issued = _await(_token(server, **refresh, refresh_token="first"))

    assert server(_bearer(issued["access_token"])) == "c"
    assert issued["expires_in"] == 60
    with pytest.raises(sandbox.Refused):
        _await(_token(server, **refresh, refresh_token="first"))
    again = _await(_token(server, **refresh, refresh_token=issued["refresh_token"]))
    assert again["access_token"] != issued["access_token"]
    clock.now += 60
    with pytest.raises(sandbox.Refused):
        server(_bearer(again["access_token"]))


def test_without_rotation_the_refresh_token_stays():
    server = sandbox.OAuthServer({"c": "s"}, refresh_tokens={"first"}, rotate=False)
    fields = {"grant_type": "refresh_token", "refresh_token": "first", **CLIENT}

    assert "refresh_token" not in _await(_token(server, **fields))
    assert _await(_token(server, **fields))["access_token"]


def test_a_code_is_taken_once():
    server = sandbox.OAuthServer({"c": "s"}, codes={"code-1"})
    fields = {"grant_type": "authorization_code", "code": "code-1", **CLIENT}

    assert _await(_token(server, **fields))["refresh_token"]
    with pytest.raises(sandbox.Refused):
        _await(_token(server, **fields))


def test_a_client_may_sign_in_by_header_and_be_expired():
    server = sandbox.OAuthServer({"c": "s"})
    headers = {"authorization": _basic("c", "s")}

    token = _await(_token(server, headers, grant_type="client_credentials"))["access_token"]
    server.expire()

    with pytest.raises(sandbox.Refused):
        server(_bearer(token))


def test_a_signed_assertion_is_exchanged(keys):
    private, public = keys
    audience = "https://example.com/token"
    server = sandbox.OAuthServer({}, assertions=sandbox.JwtAuth(public, audience=audience))
    assertion = _assertion(private, aud=audience)

    issued = _await(_token(server, grant_type=JWT_BEARER_GRANT, assertion=assertion))

    assert server(_bearer(issued["access_token"])) == "app-1"


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"grant_type": "password", **CLIENT}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": "c"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "x", **CLIENT}, 400, "invalid_grant"),
    ],
)
def test_the_token_endpoint_refuses_with_the_standards_codes(fields, status, error):
    with pytest.raises(sandbox.Refused) as caught:
        _await(_token(sandbox.OAuthServer({"c": "s"}), **fields))

    assert (caught.value.reply.status, caught.value.reply.body) == (status, {"error": error})


def test_forms_may_be_json():
    headers = {"content-type": "application/json"}

    fields = _await(sandbox.form_fields(make_request(headers=headers, body=b'{"a": 1}')))

    assert fields == {"a": "1"}
    with pytest.raises(sandbox.Refused):
        _await(sandbox.form_fields(make_request(headers=headers, body=b"{")))


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status", {"kind": "status", "status": 500, "times": 1, "match": "*"}),
        ("status:503*2@GET /repos/*", {"status": 503, "times": 2, "match": "GET /repos/*"}),
        ("timeout:5", {"kind": "timeout", "seconds": 5.0}),
        ("latency:0.5@POST *", {"seconds": 0.5, "match": "POST *"}),
        ("cut:0.25", {"kind": "cut", "share": 0.25}),
        ("broken_json*3", {"kind": "broken_json", "times": 3}),
        ("retype:id", {"field": "id", "to": "string"}),
        ("retype:id=null", {"field": "id", "to": "null"}),
        ('{"kind": "status", "times": null, "headers": {"a": "b"}}', {"times": None}),
    ],
)
def test_faults_are_read_from_text(text, expected):
    fault = sandbox.parse_fault(text)

    assert {name: getattr(fault, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read. Write e.g."),
        ("explode", "Give a 'kind' of status, timeout"),
        ("status:many", "'many' is not a number"),
        ("broken_json:1", "kind 'broken_json' takes no argument"),
        ("{", "is not JSON"),
        ('{"kind": "status", "tims": 1}', "unknown field"),
    ],
)
def test_faults_that_make_no_sense_are_explained(text, message):
    with pytest.raises(sandbox.FaultError, match=message):
        sandbox.parse_fault(text)


def test_a_fault_waits_for_its_requests():
    queue = FaultQueue()
    queue.add(sandbox.parse_fault("status:503*2@GET /repos/*/issues"))
    queue.add(sandbox.read_fault({"kind": "cut", "match": "GET /a?page=2", "skip": 1}))

    def kind(path, query="", method="GET"):
        fault = queue.next(make_request(path, query, method=method))
        return fault and fault.kind

    assert [kind("/repos/a/issues", method="POST"), kind("/repos/a/labels")] == [None, None]
    assert [kind("/repos/a/issues") for _ in range(3)] == ["status", "status", None]
    assert [kind("/a"), kind("/a", "page=2"), kind("/a", "page=2")] == [None, None, "cut"]
    assert queue.waiting == []
    queue.add(sandbox.parse_fault("cut"))
    queue.clear()
    assert queue.next(make_request()) is None


@pytest.mark.parametrize("content", [b'{"a": [1, 2, 3]}', b"[]", b"{}", b'"text"', b"12"])
def test_broken_json_cannot_be_read(content):
    with pytest.raises(ValueError, match=r"."):
        json.loads(broken_json(content))


@pytest.mark.parametrize(
    ("to", "value"),
    [
        ("string", "1"),
        ("number", 1),
        ("boolean", True),
        ("null", None),
        ("object", {"value": 1}),
        ("array", [1]),
    ],
)
def test_a_member_changes_its_type_wherever_it_is(to, value):
    content = json.dumps({"items": [{"id": 1, "inner": {"id": 1}}], "total": 1}).encode()

    assert json.loads(retyped(content, "id", to)) == {
        "items": [{"id": value, "inner": {"id": value}}],
        "total": 1,
    }
    assert json.loads(retyped(b'{"id": "ab"}', "id", "number")) == {"id": 2}
    assert json.loads(retyped(b'{"id": "ab"}', "id", "string")) == {"id": "ab"}
    assert retyped(b"no json", "id", to) == b"no json"


# -- statistics -----------------------------------------------------------------------------------


@steady
@given(st.lists(st.integers(0, 3000), max_size=60))
def test_the_busiest_second_is_found_wherever_it_lies(milliseconds):
    arrivals = sorted(milliseconds)
    clock = Clock()
    statistics = Statistics(clock)
    for arrival in arrivals:
        clock.now = 1000 + arrival / 1000
        statistics.arrived("GET /")
        statistics.answered("GET /", 200, 10)
    times = [1000 + arrival / 1000 for arrival in arrivals]
    peak = max((sum(end - 1 < one <= end for one in times) for end in times), default=0)

    report = statistics.report()

    assert report["peak_requests_per_second"] == peak
    assert report["requests"] == len(arrivals)
    assert report["bytes_sent"] == 10 * len(arrivals)
    assert report["in_flight"] == 0
