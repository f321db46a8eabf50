# SPDX-License-Identifier: Apache-2.0
"""The tap: settings and quota come from `connector.yaml`, records from `streams.py`."""

from __future__ import annotations

from ipai_kit.auth import GitHubAppAuth, TokenPool
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.rest import Reply, Verdict
from ipai_kit.rest.calls import safe_url
from ipai_kit.rest.client import Auth
from ipai_kit.tap import ConnectorTap
from tap_github.client import CUT_OFF, classify_github
from tap_github.streams import STREAMS

__all__ = ["TapGitHub"]


class TapGitHub(ConnectorTap):
    """Singer tap for GitHub's REST API."""

    stream_types = STREAMS

    def authenticator(self) -> Auth | None:
        """Sign as an app, with one token or several, or not at all."""
        config = self.config
        if config.get("app_id"):
            if not config.get("app_private_key"):
                message = "Setting 'app_id' is there, 'app_private_key' is missing."
                raise ConfigurationError(message, next_step="Add the app's private key.")
            return GitHubAppAuth(
                self.token_client,
                self.api_url,
                config["app_id"],
                config["app_private_key"],
                config.get("installation_id"),
            )
        tokens = [config.get("auth_token"), *(config.get("additional_auth_tokens") or ())]
        known = [token for token in tokens if token]
        return TokenPool(known) if known else None

    def classify(self, reply: Reply) -> Verdict:
        """Judge a reply by GitHub's rules."""
        verdict = classify_github(reply)
        if verdict.reason == CUT_OFF:
            self.logger.warning(
                "%s What is behind it stays unread: %s", CUT_OFF, safe_url(reply.url)
            )
        return verdict


if __name__ == "__main__":
    TapGitHub.cli()
