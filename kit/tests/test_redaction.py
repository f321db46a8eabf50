# SPDX-License-Identifier: Apache-2.0
"""Secrets are masked in every form in which they leak, and nothing else is."""

import base64
import html
import json
import re
import time
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_kit.spec import MASK, Redactor, find_token, parse_spec, secret_values

steady = settings(deadline=None)  # a machine under load is slow, not wrong

SECRET = 'p@ss/w+rd "ü" 100%&=~'
KEY = "\n".join(
    [
        "-----BEGIN " + "PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQ",
        "EFAASCBKcwggSjAgEAAo",
        "-----END",
    ]
)


def _encodings(secret):
    data = secret.encode()
    quoted = urllib.parse.quote(secret, safe="")
    escaped = json.dumps(secret)[1:-1]
    return {
        "plain": secret,
        "url": quoted,
        "url in small letters": re.sub("%..", lambda found: found[0].lower(), quoted),
        "url with slashes": urllib.parse.quote(secret),
        "form": urllib.parse.quote_plus(secret),
        "url twice": urllib.parse.quote(quoted, safe=""),
        "json": escaped,
        "json with letters": json.dumps(secret, ensure_ascii=False)[1:-1],
        "json in json": json.dumps(escaped)[1:-1],
        "json of php": escaped.replace("/", "\\/"),
        "repr": repr(secret)[1:-1],
        "html": html.escape(secret),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
    }


@pytest.mark.parametrize("form", _encodings(SECRET))
def test_each_encoding_is_masked(form):
    text = _encodings(SECRET)[form]

    assert Redactor([SECRET]).text(f"a {text} b") == f"a {MASK} b"


@pytest.mark.parametrize("form", _encodings(SECRET))
def test_each_encoding_is_masked_in_bytes(form):
    text = _encodings(SECRET)[form]

    assert Redactor([SECRET]).data(b"\xff " + text.encode() + b" \x80") == b"\xff *** \x80"


@steady
@given(
    st.binary(max_size=7),
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).filter(str.strip),
    st.binary(max_size=7),
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
)
def test_base64_is_masked_at_every_offset(before, secret, after, encode):
    encoded = encode(before + secret.encode() + after).decode()
    start, end = len(before) * 8 // 6, -(-(len(before) + len(secret.encode())) * 8 // 6)

    masked = Redactor([secret]).text(encoded)

    # at most one character that the secret shares with its neighbour stays on each side
    inner = encoded[start + 1 : end - 1]
    assert inner not in masked or set(secret) == {"*"}


def test_a_basic_authorization_header_shows_no_password():
    header = base64.b64encode(f"user:{SECRET}".encode()).decode()

    assert Redactor([SECRET]).text(f"x {header}").startswith("x dXNlc")
    assert MASK in Redactor([SECRET]).text(f"x {header}")


@pytest.mark.parametrize(
    "text",
    [KEY, json.dumps(KEY), json.dumps(json.dumps(KEY)), KEY.replace("\n", "\\n"), f"key: {KEY}"],
)
def test_a_key_of_many_lines_is_masked(text):
    masked = Redactor([KEY]).text(text)

    assert "MIIE" not in masked
    assert "EFAA" not in masked


@pytest.mark.parametrize("line", KEY.splitlines()[1:3])
def test_each_line_of_a_key_is_masked_alone(line):
    assert Redactor([KEY]).text(f"  {line}\r\n") == f"  {MASK}\r\n"


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "gho_" + "a1B2" * 9,
        "ghs_" + "a1B2" * 9,
        "github_pat_" + "11AAAA_bbbb" * 5,
        "glpat-" + "xY-z" * 5,
        "ya29." + "a0Af_-" * 8,
        "AIza" + "SyD-9_x" * 5,
        "1//0" + "gLu-_9x" * 8,
        "GOCSPX-" + "aB_-" * 7,
        "dop_v1_" + "0af9" * 16,
        "doo_v1_" + "0af9" * 16,
        "sbp_" + "0af9" * 10,
        "sbp_v0_" + "0af9" * 10,
        "sb_secret_" + "aB_-" * 6,
        "xoxb-" + "1234567890-abc",
        "sk_live_" + "aB12" * 6,
        "AKIA" + "ABCD" * 4,
        "eyJhbGciOiJI.eyJzdWIiOiIx." + "c2ln" * 4,
        "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_tokens_of_a_vendors_shape_are_masked_though_unknown(token):
    assert find_token(f"see {token}") is not None
    assert Redactor().text(f"see {token}, please") == f"see {MASK}, please"
    assert Redactor().text(json.dumps({"a": token})) == json.dumps({"a": MASK})


def test_a_private_key_without_an_end_hides_no_later_lines():
    begin = "-----BEGIN " + "PRIVATE KEY-----"

    assert Redactor().text(f'x {begin}\nMIIE+/=\nabcd\n{{"next": 1}}\n') == 'x ***\n{"next": 1}\n'
    assert Redactor().text(f'"{begin}\\nMIIE\\nab"') == '"***"'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ('{"authorization": "Basic dTpw"}', '{"authorization": "Basic ***"}'),
        ("'Authorization': 'token 12345'", "'Authorization': 'token ***'"),
    ],
)
def test_credentials_in_well_known_places_are_masked(text, masked):
    assert Redactor().text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a healthy line",
        "https://api.github.com/repos/a/b?page=2",
        "ghp_short and AKIA and eyJ",
        "mail me@example.com at https://example.com:8080/x",
        "authorization failed",
        "*" * 40,
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert Redactor([SECRET, "", None, True, "***", "   "]).text(text) is text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=ab next", "password=*** next"),
        ('{"pin": "ab"}', '{"pin": "***"}'),
        ('{"token":"ab","records":1}', '{"token":"***","records":1}'),
        ("postgres://u:ab@h", "postgres://u:***@h"),
        ("a cab is about", "a cab is about"),
        ("tab=ab", "tab=ab"),
    ],
)
def test_short_secrets_are_masked_only_where_a_credential_stands(text, masked):
    assert Redactor(["ab"]).text(text) == masked


def test_the_longest_secret_wins():
    assert Redactor(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_secrets_can_be_added_while_running():
    redactor = Redactor(["first-secret"])
    redactor.add("second-secret", 123456)
    redactor.add("second-secret")

    assert redactor.text("first-secret second-secret 123456") == f"{MASK} {MASK} {MASK}"


@steady
@given(st.data())
def test_a_stream_masks_whatever_the_chunks_are(data):
    text = (f"one {SECRET} two\n" * 3 + f"three {SECRET}").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stream = Redactor([SECRET]).stream()
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    out = b"".join(stream.feed(piece) for piece in pieces) + stream.finish()

    assert out == b"one *** two\n" * 3 + b"three ***"


def test_a_line_without_end_flows_and_still_hides_the_secret():
    stream = Redactor(["hunter2-hunter2"]).stream()
    chunk = b"x" * 99_993 + b"hunter2-hunter2"
    held, out = 0, b""
    for start in range(0, 30 * len(chunk), 65_536):
        out += stream.feed((chunk * 30)[start : start + 65_536])
        held = max(held, start + 65_536 - len(out))

    out += stream.finish()

    assert b"hunter2" not in out
    assert out.count(b"***") == 30
    assert held < 1_500_000


def test_a_line_of_ten_megabytes_is_masked_in_time():
    line = ('{"title": "a line that is long", "n": 12345}, ' * 230_000).encode()
    redactor = Redactor([SECRET, KEY, "another-secret"])
    start = time.perf_counter()

    assert redactor.data(line) == line
    assert time.perf_counter() - start < 3


SPEC = parse_spec("""
spec_version: 1
name: ipai_connector_shop
source_type: shop
title: Shop
domain: core
api: {version: v1, docs_url: https://d.example.com, sunset: null, base_urls: [https://example.com]}
tos: {url: https://example.com/terms, reviewed_at: 2026-10-01}
auth: {methods: [{type: service_account, settings: [credentials]}]}
sync_mode: full_table
schedule: "0 6 * * *"
settings:
  credentials: {type: string, secret: true, description: A key file.}
  region: {type: string, description: Where.}
streams: [{name: places, description: A place.}]
""")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"credentials": "abc", "region": "eu"}, ["abc"]),
        ({"credentials": 1234}, ["1234"]),
        ({"credentials": ["abc", "def"]}, ["abc", "def"]),
        ({"credentials": {"type": "service_account", "private_key": "xyz"}}, ["xyz"]),
        ({"credentials": None}, []),
        (
            {"credentials": "postgresql://u:p%40ss@h/d"},
            ["postgresql://u:p%40ss@h/d", "p%40ss", "p@ss"],
        ),
        ({"credentials": "{broken"}, ["{broken"]),
        ({"credentials": "x://[u:p@h"}, ["x://[u:p@h"]),
        ({"api_key": "k", "token_url": "https://x", "secret_name": "n", "region": "eu"}, ["k"]),
        ({"nested": {"password": "pw", "user": "me"}, "list": [{"token": "t"}]}, ["pw", "t"]),
        ({"dsn": "https://u:pw@h", "flag_token": True}, ["pw", "pw"]),
    ],
)
def test_the_secrets_of_a_configuration_are_found(config, expected):
    assert secret_values(SPEC, config) == list(dict.fromkeys(expected))


def test_a_key_file_in_a_text_gives_its_secret_parts():
    text = json.dumps({"type": "service_account", "private_key": "xyz", "client_id": "1"})

    assert secret_values(SPEC, {"credentials": text}) == [text, "xyz"]


def test_without_a_spec_the_names_decide():
    config = {"auth_token": "abc", "refresh_token": "def", "start_date": "2026-01-01"}

    assert secret_values(None, config) == ["abc", "def"]
