# SPDX-License-Identifier: Apache-2.0
"""The door to the network: official hosts only, encrypted only, nothing secret shown."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ipai_kit.auth import ApiKeyAuth
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest.calls import fill_path, safe_url
from ipai_kit.rest.transport import Transport, TransportError
from ipai_kit.testing.loopback import Answer


@pytest.mark.parametrize("url", ["http://api.example.com", "http://10.0.0.8", "ftp://x", "api"])
def test_an_address_must_be_encrypted_unless_nobody_can_listen(url):
    with pytest.raises(ConfigurationError, match="https"):
        Transport([url])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_loopback_may_be_plain(url):
    Transport([url])


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/x",
        "https://api.example.com:8443/x",
        "https://api.example.com.evil.com/",
        "https://api.example.com@evil.com/",
    ],
)
def test_other_hosts_are_refused(call, url):
    with pytest.raises(ConfigurationError, match="not one of the source's"):
        Transport(["https://api.example.com"]).send(call(url))


def test_a_redirect_to_another_host_is_refused_before_it_is_asked(loopback, call):
    other = loopback(lambda asked: Answer([]))
    source = loopback(lambda asked: Answer(status=302, headers={"Location": other.url + "/x"}))

    with pytest.raises(ConfigurationError, match="not one of the source's"):
        Transport([source.url]).send(call(source.url + "/y"))
    assert other.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_moved_resource_is_followed_with_its_query_and_credentials(loopback, call, status):
    def answer(asked):
        if asked.path == "/old":
            return Answer(status=status, headers={"Location": "/new?" + "page=2"})
        return Answer({"path": asked.path, "query": dict(asked.query)})

    source = loopback(answer)
    reply = Transport([source.url]).send(call(source.url + "/old"), ApiKeyAuth("X-Key", "k"))

    assert reply.field("query") == {"page": "2"}
    assert reply.url.endswith("/new?page=2")
    assert [one.headers["x-key"] for one in source.asked] == ["k", "k"]


def test_a_redirect_that_would_turn_a_post_into_a_get_is_left_as_it_is(loopback, call):
    source = loopback(lambda asked: Answer(status=302, headers={"Location": "/new"}))
    reply = Transport([source.url]).send(call(source.url + "/x", method="POST", body={"a": 1}))

    assert reply.status == 302
    assert len(source.asked) == 1


def test_a_circle_of_redirects_ends(loopback, call):
    source = loopback(lambda asked: Answer(status=307, headers={"Location": "/x"}))

    with pytest.raises(TransportError, match="redirects"):
        Transport([source.url]).send(call(source.url + "/x"))


def test_a_body_is_sent_as_json_and_empty_parameters_are_left_out(loopback, call):
    source = loopback(lambda asked: Answer([]))
    Transport([source.url]).send(
        call(source.url + "/x", method="POST", body={"n": 1}, params={"a": 1, "b": None})
    )
    asked = source.asked[0]

    assert asked.body == b'{"n":1}'
    assert asked.headers["content-type"] == "application/json"
    assert dict(asked.query) == {"a": "1"}


@pytest.mark.parametrize(
    "answer", [Answer([1, 2, 3], cut=3), Answer([], delay=0.6)], ids=["cut", "slow"]
)
def test_no_whole_reply_is_an_error_of_its_own(loopback, call, answer):
    source = loopback(lambda asked: answer)

    with pytest.raises(TransportError):
        Transport([source.url], timeout=(1, 0.2)).send(call(source.url + "/x"))


def test_a_refused_connection_is_an_error_that_names_the_server_but_no_query(call):
    with pytest.raises(TransportError) as told:
        Transport(["http://127.0.0.1:9"]).send(call("http://127.0.0.1:9/x?key=abc"))

    assert str(told.value) == "NewConnectionError at 'http://127.0.0.1:9'"


def test_no_credentials_are_taken_from_netrc(loopback, call, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    source = loopback(lambda asked: Answer([]))
    Transport([source.url]).send(call(source.url + "/x"))

    assert "authorization" not in source.asked[0].headers


def test_cookies_are_not_kept(loopback, call):
    source = loopback(lambda asked: Answer([], headers={"Set-Cookie": "id=1"}))
    transport = Transport([source.url])
    for _ in range(2):
        transport.send(call(source.url + "/x"))

    assert "cookie" not in source.asked[1].headers


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, call):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"https://localhost:{server.server_port}"
    try:
        with pytest.raises(ConfigurationError, match="certificate"):
            Transport([url]).send(call(url + "/x"))
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@a.com/x?page=2", "https://a.com/x?page=2"),
        ("https://a.com/x?access_token=abc&page=2", "https://a.com/x?access_token=***&page=2"),
        (
            "https://a.com:8443/x?api-key=1&key=2&sig=3",
            "https://a.com:8443/x?api-key=***&key=***&sig=***",
        ),
        ("https://a.com/x#token=1", "https://a.com/x"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert shown == safe_url(url)


def test_a_context_value_stays_one_segment_of_the_path():
    assert fill_path("/repos/{name}/x", {"name": "a/../b c"}) == "/repos/a%2F..%2Fb%20c/x"
