# SPDX-License-Identifier: Apache-2.0
"""Signing in, against identity servers on loopback; renewal with a clock of the test."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ipai_kit.auth import (
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    ClientCredentials,
    FileTokenStore,
    GitHubAppAuth,
    MemoryTokenStore,
    OAuthClient,
    RefreshToken,
    RenewingAuth,
    ServiceAccountAuth,
    Token,
    TokenPool,
    authorization_url,
    exchange_code,
)
from ipai_kit.exceptions import ConfigurationError, CredentialsError, TryAgainLaterError
from ipai_kit.quota import Limits, Quota
from ipai_kit.rest.client import Client
from ipai_kit.rest.retry import RetryPolicy
from ipai_kit.rest.transport import Transport
from ipai_kit.testing.loopback import Answer


def request(url="https://api.example.com/x?a=1"):
    return requests.Request("GET", url).prepare()


def bearer(signed):
    return signed.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="module")
def key():
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return pem, made.public_key()


class Clock:
    def __init__(self):
        self.time = time.time()

    def __call__(self):
        return self.time


# -- fixed credentials --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (ApiKeyAuth("X-Key", "s3cret"), "X-Key", "s3cret"),
        (ApiKeyAuth("Authorization", "s3cret", prefix="Token "), "Authorization", "Token s3cret"),
        (BearerAuth("s3cret"), "Authorization", "Bearer s3cret"),
        (BasicAuth("ü", "s3cret"), "Authorization", "Basic w7w6czNjcmV0"),
    ],
)
def test_a_header_carries_the_credentials(auth, header, value):
    assert auth(request()).headers[header] == value
    assert "s3cret" not in repr(auth)
    assert auth.renew(request()) is False


def test_a_key_may_stand_in_the_query():
    signed = ApiKeyAuth("key", "s3&cret", where="query")(request())

    assert dict(parse_qsl(urlsplit(signed.url).query)) == {"a": "1", "key": "s3&cret"}


# -- OAuth 2.0 ----------------------------------------------------------------------------------


class IdentityServer:
    """Issues tokens; refresh tokens are good once."""

    def __init__(self, life=3600, rotate=True):
        self.life, self.rotate = life, rotate
        self.number = 0
        self.refresh = {"first"}
        self.forms = []
        self.challenges = {}
        self.lock = threading.Lock()

    def __call__(self, asked):
        form = dict(parse_qsl(asked.body.decode()))
        self.forms.append((form, asked.headers))
        with self.lock:
            return self.issue(form)

    def issue(self, form):
        kind = form["grant_type"]
        if kind == "refresh_token":
            if form["refresh_token"] not in self.refresh:
                return Answer({"error": "invalid_grant"}, 400)
            if self.rotate:
                self.refresh.remove(form["refresh_token"])
        if kind == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if self.challenges.get(form["code"]) != challenge:
                return Answer({"error": "invalid_grant"}, 400)
        self.number += 1
        body = {"access_token": f"access-{self.number}", "expires_in": self.life}
        if kind != "client_credentials" and self.rotate:
            body["refresh_token"] = f"refresh-{self.number}"
            self.refresh.add(body["refresh_token"])
        return Answer(body)


@pytest.fixture
def oauth(loopback, demo):
    """An identity server and a client of it."""

    def make(server=None, **client):
        identity = server or IdentityServer()
        site = loopback(identity)
        waiting = demo.Waiting()
        asking = Client(
            Transport([site.url]),
            Quota(Limits(requests_per_second=1000), waiting),
            policy=RetryPolicy(max_attempts=3),
            waiting=waiting,
        )
        client.setdefault("client_secret", "hush")
        return identity, OAuthClient(asking, site.url + "/token", "me", **client)

    return make


def test_the_code_is_traded_with_its_verifier(oauth):
    identity, client = oauth()
    url, state, verifier = authorization_url(
        "https://id.example.com/consent", "me", "http://127.0.0.1/back", ["a", "b"]
    )
    query = dict(parse_qsl(urlsplit(url).query))
    identity.challenges["code-1"] = query["code_challenge"]
    token = exchange_code(client, "code-1", "http://127.0.0.1/back", verifier)

    assert (query["state"], query["scope"]) == (state, "a b")
    assert query["code_challenge_method"] == "S256"
    assert token.refresh_token == "refresh-1"
    with pytest.raises(CredentialsError, match="invalid_grant"):
        exchange_code(client, "code-1", "http://127.0.0.1/back", "another")


def test_a_token_of_a_minute_lives_through_ten(oauth):
    clock = Clock()
    identity, client = oauth(IdentityServer(life=60), now=clock)
    auth = RenewingAuth(
        RefreshToken(client), MemoryTokenStore(Token("", refresh_token="first")), now=clock
    )
    seen = []
    for _ in range(100):
        seen.append(bearer(auth(request())))
        clock.time += 6

    assert len(set(seen)) == identity.number == 13
    assert seen.count("access-1") == 8  # 45 of 60 seconds are used


def test_a_rotated_token_is_on_disk_before_it_is_used(oauth, tmp_path):
    identity, client = oauth()
    path = tmp_path / "state" / "token.json"
    store = FileTokenStore(path, Token("", refresh_token="first"))
    auth = RenewingAuth(RefreshToken(client), store)
    used = bearer(auth(request()))

    assert json.loads(path.read_bytes())["access_token"] == used == "access-1"
    assert path.stat().st_mode & 0o777 == 0o600
    again = RenewingAuth(RefreshToken(client), FileTokenStore(path))
    assert bearer(again(request())) == "access-1"
    assert identity.number == 1


def test_a_token_that_cannot_be_kept_is_not_used(oauth, tmp_path):
    _, client = oauth()

    class Full(MemoryTokenStore):
        def save(self, token):
            raise OSError("No space left on device")

    auth = RenewingAuth(RefreshToken(client), Full(Token("", refresh_token="first")))
    signed = request()

    with pytest.raises(OSError, match="No space"):
        auth(signed)
    assert "Authorization" not in signed.headers


def test_half_a_token_file_is_never_seen(tmp_path, monkeypatch):
    store = FileTokenStore(tmp_path / "token.json")
    store.save(Token("old"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("crash")))

    with pytest.raises(OSError, match="crash"):
        store.save(Token("new"))
    assert store.load().access_token == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["token.json"]


def test_a_token_file_that_is_broken_is_named(tmp_path):
    path = tmp_path / "token.json"
    path.write_text("{")

    with pytest.raises(ConfigurationError, match=r"token\.json"):
        FileTokenStore(path).load()


def test_one_thread_renews_for_all(oauth):
    identity, client = oauth()
    auth = RenewingAuth(RefreshToken(client), MemoryTokenStore(Token("", refresh_token="first")))
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: bearer(auth(request())), range(64)))

    assert tokens == {"access-1"}
    assert identity.number == 1


def _renew_in_another_process(url, path, results):
    transport = Transport([url])
    client = OAuthClient(Client(transport, Quota(Limits())), url + "/token", "me", "hush")
    auth = RenewingAuth(RefreshToken(client), FileTokenStore(path))
    results.put(bearer(auth(request())))


def test_one_process_renews_for_all(oauth, tmp_path):
    identity, client = oauth()
    path = str(tmp_path / "token.json")
    FileTokenStore(path).save(Token("", refresh_token="first"))
    spawn = multiprocessing.get_context("fork")
    results = spawn.Queue()
    url = client.token_url.removesuffix("/token")
    workers = [
        spawn.Process(target=_renew_in_another_process, args=(url, path, results)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    tokens = {results.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()

    assert tokens == {"access-1"}
    assert identity.number == 1


def test_a_revoked_grant_is_not_asked_for_again(oauth):
    identity, client = oauth()
    auth = RenewingAuth(RefreshToken(client), MemoryTokenStore(Token("", refresh_token="stolen")))

    with pytest.raises(CredentialsError, match="invalid_grant") as caught:
        auth(request())
    assert "needs_reauth" in caught.value.next_step
    assert len(identity.forms) == 1


def test_a_connection_without_refresh_token_needs_a_login(oauth):
    _, client = oauth()

    with pytest.raises(CredentialsError, match="no refresh token"):
        RenewingAuth(RefreshToken(client))(request())


def test_an_identity_server_that_is_down_is_not_a_matter_of_credentials(oauth):
    _, client = oauth(lambda asked: Answer({}, 503))

    with pytest.raises(TryAgainLaterError):
        RenewingAuth(ClientCredentials(client))(request())


def test_a_refresh_token_that_does_not_rotate_is_kept(oauth):
    clock = Clock()
    identity, client = oauth(IdentityServer(rotate=False), now=clock)
    store = MemoryTokenStore(Token("", refresh_token="first"))
    auth = RenewingAuth(RefreshToken(client), store, now=clock)
    auth(request())
    clock.time += 3600
    auth(request())

    assert identity.number == 2
    assert store.load().refresh_token == "first"


@pytest.mark.parametrize("in_header", [True, False])
def test_a_client_signs_in_for_itself(oauth, in_header):
    identity, client = oauth(secret_in_header=in_header)
    token = bearer(RenewingAuth(ClientCredentials(client, ["read", "list"]))(request()))
    form, headers = identity.forms[0]

    assert token == "access-1"
    assert form["scope"] == "read list"
    assert ("client_secret" in form) is not in_header
    assert headers.get("authorization") == ("Basic bWU6aHVzaA==" if in_header else None)


def test_a_refused_token_is_replaced_once(oauth):
    identity, client = oauth()
    auth = RenewingAuth(ClientCredentials(client))
    first = auth(request())
    other = auth(request())

    assert auth.renew(first) is True
    assert auth.renew(other) is True  # carried the same token: already replaced
    assert identity.number == 2
    assert bearer(auth(request())) == "access-2"


def test_a_token_without_an_end_is_kept(oauth):
    identity, client = oauth(IdentityServer(life=None))
    clock = Clock()
    auth = RenewingAuth(ClientCredentials(client), now=clock)
    auth(request())
    clock.time += 10**9
    auth(request())

    assert identity.number == 1


# -- service account ----------------------------------------------------------------------------


GOOGLE = "https://oauth2.googleapis.com/token"


def service_account(url, pem):
    return {
        "type": "service_account",
        "client_email": "robot@example.com",
        "private_key_id": "1",
        "private_key": pem,
        "token_uri": url + "/token",
    }


def test_a_service_account_signs_a_statement_and_renews_it(loopback, key):
    pem, public = key
    statements = []

    def answer(asked):
        form = dict(parse_qsl(asked.body.decode()))
        statements.append(jwt.decode(form["assertion"], public, ["RS256"], audience=GOOGLE))
        return Answer({"access_token": f"ya-{len(statements)}", "expires_in": 3600})

    site = loopback(answer)
    auth = ServiceAccountAuth(
        Transport([site.url]), json.dumps(service_account(site.url, pem)), ["scope-a"]
    )
    first = auth(request())

    assert bearer(first) == bearer(auth(request())) == "ya-1"
    assert statements[0]["scope"] == "scope-a"
    assert auth.renew(first) is True
    assert auth.renew(first) is True
    assert bearer(auth(request())) == "ya-2"


def test_a_service_account_that_is_refused_is_named(loopback, key):
    site = loopback(lambda asked: Answer({"error": "invalid_grant"}, 400))
    auth = ServiceAccountAuth(Transport([site.url]), service_account(site.url, key[0]), ["s"])

    with pytest.raises(CredentialsError, match="invalid_grant"):
        auth(request())


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"token_uri": "https://x.com/t", "client_email": "x"}']
)
def test_a_key_that_is_no_service_account_is_named(text):
    with pytest.raises(ConfigurationError, match="service account key"):
        ServiceAccountAuth(Transport([]), text, ["s"])


# -- GitHub App ---------------------------------------------------------------------------------


@pytest.fixture
def app(loopback, key, demo):
    """GitHub's side of an app; statements and tokens are counted."""
    _, public = key
    clock = Clock()
    seen = []

    def answer(asked):
        statement = asked.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(statement, public, ["RS256"], options={"verify_iat": False})
        assert claims["exp"] - claims["iat"] <= 600
        seen.append((asked.method, asked.path, claims["iss"]))
        if asked.method == "GET":
            return Answer([{"id": 42}])
        ends = datetime.fromtimestamp(clock.time + 3600, UTC)
        body = {"token": f"ghs_{len(seen)}", "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return Answer(body, 201)

    site = loopback(answer)
    client = Client(Transport([site.url]), Quota(Limits(requests_per_second=1000)))
    return client, site.url, clock, seen


def test_an_installation_token_is_renewed_before_it_ends(app, key):
    client, url, clock, seen = app
    auth = GitHubAppAuth(client, url, "7", key[0].replace("\n", "\\n"), "42", now=clock)
    tokens = []
    for _ in range(8):
        tokens.append(bearer(auth(request())))
        clock.time += 600

    assert tokens == ["ghs_1"] * 6 + ["ghs_2"] * 2
    assert seen[0] == ("POST", "/app/installations/42/access_tokens", "7")


def test_the_only_installation_is_found(app, key):
    client, url, clock, seen = app
    GitHubAppAuth(client, url, "7", key[0], now=clock)(request())

    assert [one[1] for one in seen] == [
        "/app/installations",
        "/app/installations/42/access_tokens",
    ]


def test_several_installations_need_a_choice(loopback, key):
    site = loopback(lambda asked: Answer([{"id": 1}, {"id": 2}]))
    client = Client(Transport([site.url]), Quota(Limits()))

    with pytest.raises(ConfigurationError, match="'1', '2'"):
        GitHubAppAuth(client, site.url, "7", key[0])(request())


def test_a_private_key_that_is_none_is_refused_without_showing_it(app):
    client, url, _, _ = app

    with pytest.raises(ConfigurationError, match="PEM") as caught:
        GitHubAppAuth(client, url, "7", "s3cret", "42")(request())
    assert "s3cret" not in str(caught.value)


# -- several tokens -----------------------------------------------------------------------------


def test_the_token_with_the_most_left_signs():
    pool = TokenPool(["a", "b", "b"])
    first, second = pool(request()), pool(request())

    assert {bearer(first), bearer(second)} == {"a", "b"}
    assert pool.note(first, 10, 60.0) == (None, None)  # the other is unknown: count on it
    assert pool.note(second, 20, 30.0) == (30, pytest.approx(30, abs=1))
    assert bearer(pool(request())) == bearer(second)


def test_a_spent_token_rests_while_another_works():
    clock = Clock()
    pool = TokenPool(["a", "b"], now=clock)
    first = pool(request())

    assert pool.exhausted(first, 60.0) == 0.0
    assert bearer(pool(request())) != bearer(first)
    assert pool.exhausted(pool(request()), 90.0) == pytest.approx(60, abs=1)
    clock.time += 61
    assert bearer(pool(request())) == bearer(first)


def test_a_refused_token_is_put_away_but_not_the_last():
    pool = TokenPool(["a", "b"])
    first, second = pool(request()), pool(request())

    assert pool.renew(first) is True
    assert pool.renew(first) is True
    assert pool.renew(second) is False


def test_an_empty_pool_is_a_question_of_configuration():
    with pytest.raises(ConfigurationError, match="no token"):
        TokenPool([])


def test_the_client_goes_on_with_the_next_token(loopback, call):
    left = {"a": 2, "b": 2}

    def answer(asked):
        token = asked.headers["authorization"].removeprefix("Bearer ")
        headers = {"x-ratelimit-remaining": str(left[token]), "x-ratelimit-reset": "600"}
        if left[token] == 0:
            return Answer({}, 403, headers)
        left[token] -= 1
        return Answer([], headers=headers | {"x-ratelimit-remaining": str(left[token])})

    site = loopback(answer)
    quota = Quota(Limits(requests_per_second=1000, max_wait_seconds=5))
    client = Client(Transport([site.url]), quota, auth=TokenPool(["a", "b"]))
    for _ in range(4):
        client.fetch(call(site.url + "/x"), lambda reply, _: reply.status)

    assert left == {"a": 0, "b": 0}
    with pytest.raises(TryAgainLaterError):
        client.fetch(call(site.url + "/x"), lambda reply, _: reply.status)
