# SPDX-License-Identifier: Apache-2.0
"""A token that the runner hands over, and the door where the next one is asked for."""

import json
from urllib.parse import parse_qs

import pytest
import requests

from ipai_kit.auth import HandedTokenAuth
from ipai_kit.exceptions import CredentialsError
from ipai_kit.quota import Limits, Quota
from ipai_kit.rest import Reply
from ipai_kit.rest.client import Client

DOOR = "http://127.0.0.1:9/token"


class Transport:
    """Answers as the door does."""

    def __init__(self):
        self.allowed, self.asked, self.status = [], [], 200

    def allow(self, url):
        self.allowed.append(url)

    def send(self, call, sign=None):
        self.asked.append({name: one for name, (one,) in parse_qs(call.data.decode()).items()})
        said = {"access_token": f"token-{len(self.asked) + 1}", "expires_in": 3600}
        body = said if self.status == 200 else {"error": "invalid_grant"}
        return Reply(self.status, {}, json.dumps(body).encode(), call.url)


@pytest.fixture
def transport():
    return Transport()


def signed(auth):
    request = requests.Request("GET", "https://api.example.com/x").prepare()
    return auth(request)


def made(transport, config, now=lambda: 0.0):
    client = Client(transport, Quota(Limits(requests_per_second=1000, concurrency=1)))
    return HandedTokenAuth(client, config, "access_token", now=now)


def config(ends):
    return {
        "access_token": "token-1",
        "oauth_door": {
            "url": DOOR,
            "keys": {"access_token": "key-of-the-run"},
            "expires_at": {"access_token": ends},
        },
    }


def test_the_first_token_is_used_until_it_is_due(transport):
    clock = [0.0]
    auth = made(transport, config(3600.0), lambda: clock[0])
    assert "Bearer token-1" == signed(auth).headers["Authorization"]
    clock[0] = 3299.0
    assert "Bearer token-1" == signed(auth).headers["Authorization"]
    clock[0] = 3301.0
    assert ["Bearer token-2"] * 2 == [signed(auth).headers["Authorization"] for _ in range(2)]
    asked = {"grant_type": "refresh_token", "refresh_token": "key-of-the-run", "client_id": "run"}
    assert [asked] == transport.asked
    assert [DOOR] == transport.allowed


def test_a_refused_token_is_replaced(transport):
    auth = made(transport, config(None))
    request = signed(auth)

    assert auth.renew(request)
    assert "Bearer token-2" == signed(auth).headers["Authorization"]


def test_a_revoked_grant_is_an_error_of_credentials(transport):
    auth, transport.status = made(transport, config(None)), 400

    with pytest.raises(CredentialsError, match="needs_reauth"):
        auth.renew(signed(auth))


def test_without_a_door_there_is_one_token(transport):
    auth = made(transport, {"access_token": "token-1"})
    request = signed(auth)

    assert "Bearer token-1" == request.headers["Authorization"]
    assert not auth.renew(request)
    assert [] == transport.asked
