# SPDX-License-Identifier: Apache-2.0
"""Stores the answers, all or nothing: secrets in the vault, then the instance that uses them."""

import os
from collections.abc import Callable, Mapping

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.demo.layers import forget_rows
from ipai_orchestrate.exceptions import ControlPlaneError, NotFoundError, SecretError
from ipai_orchestrate.first_run.answers import SANDBOX_ENV, Answers
from ipai_orchestrate.instances import Instance, find_instance, save_instance
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.start import close_abandoned, default_work_root
from ipai_orchestrate.secrets import SecretStore, ring_file


def find_existing(database: Database, instance_id: str) -> Instance | None:
    """The instance of that id, if there is one."""
    with database.connect() as connection:
        try:
            return find_instance(connection, instance_id)
        except NotFoundError:
            return None


def keep(database: Database, answers: Answers, warn: Callable[[str], None]) -> Mapping[str, str]:
    """Store the instance; returns its secrets by the references it has to them."""
    with database.connect() as connection:
        plane = ControlPlane(connection)
        close_abandoned(plane, default_work_root())
        with connection.transaction():
            references = _store_secrets(plane, answers, warn)
            config = answers.with_values(references)
            save_instance(
                plane,
                answers.instance_id,
                answers.connector,
                config,
                env=answers.env,
                schedule=answers.schedule,
            )
            if answers.existing and answers.existing.status != "active":
                plane.set_instance_status(answers.instance_id, "active")
            if answers.existing and answers.existing.env == SANDBOX_ENV:
                # What is there is made up, and its world has ended with its stand-in.
                plane.state_set(answers.instance_id, {})
                forget_rows(connection, answers.spec, answers.instance_id)
    return references


def pause(database: Database, instance_id: str) -> None:
    """Let nothing run an instance whose stand-in has ended."""
    with database.connect() as connection:
        ControlPlane(connection).set_instance_status(instance_id, "paused")


def _store_secrets(
    plane: ControlPlane, answers: Answers, warn: Callable[[str], None]
) -> dict[str, str]:
    if not answers.secrets:
        return {}
    ring = ring_file()
    new = not ring.path.exists()
    try:
        with plane.connection.transaction():
            references = _into_vault(SecretStore(plane.connection, ring), answers)
    except (ControlPlaneError, SecretError, OSError) as error:
        return _into_environment(answers, error, warn)
    if new and ring.path.exists():
        warn(f"The vault's key is new: copy {ring.path} to a safe place; without it nothing opens.")
    return references


def _into_vault(store: SecretStore, answers: Answers) -> dict[str, str]:
    there = {one.name for one in store.all()}
    references = {}
    for setting, value in answers.secrets.items():
        name = f"{answers.instance_id}/{setting}"
        if name in there:
            store.rotate(name, value)
        else:
            store.create(name, value, description=f"{setting} of {answers.instance_id}")
        references[setting] = f"${{secret:{name}}}"
    return references


def _into_environment(
    answers: Answers, error: Exception, warn: Callable[[str], None]
) -> dict[str, str]:
    """Where there is no vault: refer to variables, which are set for this process alone."""
    references = {}
    for name, value in answers.secrets.items():
        fallback = f"{answers.spec.source_type}_{name}".upper()
        variable = answers.spec.settings[name].env or fallback
        os.environ[variable] = value
        references[name] = f"${{{variable}}}"
        warn(
            f"The vault cannot be used here: {error} The setting {name} refers to the environment "
            f"variable {variable} instead: set it wherever {answers.instance_id} runs."
        )
    return references
