# SPDX-License-Identifier: Apache-2.0
"""Ways to sign in. Each is a callable on the request that also knows how to renew itself."""

from ipai_kit.auth.fixed import ApiKeyAuth, BasicAuth, BearerAuth
from ipai_kit.auth.github_app import GitHubAppAuth
from ipai_kit.auth.google import ServiceAccountAuth
from ipai_kit.auth.handed import HandedTokenAuth
from ipai_kit.auth.oauth import (
    ClientCredentials,
    OAuthClient,
    RefreshToken,
    authorization_url,
    exchange_code,
)
from ipai_kit.auth.pool import TokenPool
from ipai_kit.auth.renewing import RenewingAuth
from ipai_kit.auth.tokens import FileTokenStore, MemoryTokenStore, Token, TokenStore

__all__ = [
    "ApiKeyAuth",
    "BasicAuth",
    "BearerAuth",
    "ClientCredentials",
    "FileTokenStore",
    "GitHubAppAuth",
    "HandedTokenAuth",
    "MemoryTokenStore",
    "OAuthClient",
    "RefreshToken",
    "RenewingAuth",
    "ServiceAccountAuth",
    "Token",
    "TokenPool",
    "TokenStore",
    "authorization_url",
    "exchange_code",
]
