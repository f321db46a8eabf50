# SPDX-License-Identifier: Apache-2.0
"""A stand-in for GitHub's REST API on loopback: a made-up organization that keeps working.

Callers sign with one of `TOKENS`; `NARROW_TOKEN` lacks some permissions; without a token only
public data shows. Special names: octo-sandbox/old-name (renamed), octo-sandbox/blocked
(451), octo-sandbox/empty (409), octo-sandbox/no-issues (410), octo-sandbox/private.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette

from ipai_kit.sandbox import ANONYMOUS, BurstLimit, Limit, Sandbox, Verdict, WindowQuota
from tap_github.sandbox.author import Sizes
from tap_github.sandbox.callers import NARROW_TOKEN, TOKENS, Callers
from tap_github.sandbox.routes import Routes
from tap_github.sandbox.world import ORGANIZATION, USER, GitHub, Settings

__all__ = ["NARROW_TOKEN", "ORGANIZATION", "TOKENS", "USER", "create_app"]

_CONFIG = {
    "organizations": [ORGANIZATION],
    "users": [USER],
    "auth_token": TOKENS[0],
    "requests_per_second": 200,  # nobody else is served here
}
_LIMIT_BODY = {
    "message": "API rate limit exceeded for user ID 1.",
    "documentation_url": "https://docs.github.com/rest/rate-limit",
}
_BURST_BODY = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes.",
    "documentation_url": "https://docs.github.com/rest/secondary-rate-limits",
}


def create_app(
    seed: int = 7,
    repos: int = 5,
    specials: bool = True,
    days: int = 180,
    issues_per_repo: int = 40,
    pulls_per_repo: int = 40,
    commits_per_repo: int = 80,
    runs_per_repo: int = 60,
    stars_per_repo: int = 25,
    deployments_per_repo: int = 8,
    releases_per_repo: int = 4,
    rate_limit: int = 5000,
    anonymous_rate_limit: int = 60,
    rate_window_seconds: float = 3600,
    burst_per_second: int = 0,
    app_public_key: str | None = None,
    installation_token_seconds: float = 3600,
) -> Starlette:
    """The stand-in; `repos` repositories, with `specials` six more that answer oddly."""
    sizes = Sizes(
        issues=issues_per_repo,
        pulls=pulls_per_repo,
        commits=max(commits_per_repo, 1),
        runs=runs_per_repo,
        stars=stars_per_repo,
        deployments=deployments_per_repo,
        releases=releases_per_repo,
    )
    world = GitHub(seed, Settings(repos, specials, days, sizes))
    callers = Callers(app_public_key, installation_token_seconds)
    limits: list[Limit] = [_PerCaller(rate_limit, anonymous_rate_limit, rate_window_seconds)]
    if burst_per_second:
        limits.append(
            BurstLimit(burst_per_second, status=403, retry_after_seconds=1, body=_BURST_BODY)
        )
    sandbox = Sandbox(
        "github", auth=callers, limits=limits, world=world, etags=True, config=_CONFIG
    )
    Routes(world, callers).register(sandbox)
    return sandbox.app()


class _PerCaller:
    """The hourly quota: large for who signs, small for strangers."""

    def __init__(self, signed: int, anonymous: int, window_seconds: float) -> None:
        self._signed, self._anonymous = (
            WindowQuota(
                limit,
                window_seconds,
                status=403,
                extra_headers={"x-ratelimit-resource": "core"},
                retry_after=False,
                body=_LIMIT_BODY,
            )
            for limit in (signed, anonymous)
        )

    def _of(self, caller: str) -> WindowQuota:
        return self._anonymous if caller == ANONYMOUS else self._signed

    def admit(self, caller: str) -> Verdict:
        """Count the request, or refuse it."""
        return self._of(caller).admit(caller)

    def release(self, caller: str, *, refund: bool) -> Mapping[str, str]:
        """A 304 does not count."""
        return self._of(caller).release(caller, refund=refund)

    def reset(self) -> None:
        """Open new windows."""
        self._signed.reset()
        self._anonymous.reset()
