# SPDX-License-Identifier: Apache-2.0
"""How GitHub tells about deployments."""

from __future__ import annotations

from ipai_kit.sandbox import zulu
from tap_github.sandbox.facts import Deployment, DeploymentStatus, Repository
from tap_github.sandbox.shapes.accounts import account
from tap_github.sandbox.shapes.form import Json, node_id
from tap_github.sandbox.shapes.repositories import repository_url


def deployment(repository: Repository, one: Deployment) -> Json:
    """A deployment."""
    own = f"{repository_url(repository)}/deployments/{one.id}"
    return {
        "url": own,
        "id": one.id,
        "node_id": node_id("DE", one.id),
        "task": "deploy",
        "original_environment": one.environment,
        "environment": one.environment,
        "description": None,
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.updated_at),
        "statuses_url": f"{own}/statuses",
        "repository_url": repository_url(repository),
        "creator": account(one.creator),
        "sha": one.sha,
        "ref": "main",
        "payload": {},
        "transient_environment": False,
        "production_environment": one.environment == "production",
        "performed_via_github_app": None,
    }


def deployment_status(repository: Repository, owner: Deployment, one: DeploymentStatus) -> Json:
    """A status of a deployment."""
    own = f"{repository_url(repository)}/deployments/{owner.id}"
    return {
        "url": f"{own}/statuses/{one.id}",
        "id": one.id,
        "node_id": node_id("DES", one.id),
        "state": one.state,
        "creator": account(owner.creator),
        "description": "",
        "environment": owner.environment,
        "target_url": "",
        "created_at": zulu(one.created_at),
        "updated_at": zulu(one.created_at),
        "deployment_url": own,
        "repository_url": repository_url(repository),
        "environment_url": "",
        "log_url": "",
        "performed_via_github_app": None,
    }
