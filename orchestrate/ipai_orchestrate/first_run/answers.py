# SPDX-License-Identifier: Apache-2.0
"""What is known of an instance before it is stored; secrets apart from all else."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ipai_kit.spec import AuthMethod, ConnectorSpec, InstalledConnector
from ipai_orchestrate.exceptions import ConfigurationError, ConflictError
from ipai_orchestrate.instances import Instance
from ipai_orchestrate.pipeline.settings import REFERENCE, refuse_literal_secrets

# Marks instances whose rows are made up: only their rows may be thrown away.
SANDBOX_ENV = "sandbox"


@dataclass(frozen=True)
class Answers:
    """The settings of an instance; `secrets` are values that are in no database yet."""

    instance_id: str
    connector: InstalledConnector
    spec: ConnectorSpec
    config: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: str = "dev"
    schedule: str | None = None
    existing: Instance | None = None

    @property
    def known(self) -> set[str]:
        """The settings that have an answer."""
        return {*self.config, *self.secrets}

    def with_values(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The settings with a text for each secret: its value, or a reference to it."""
        filled = {name: _of_its_kind(self.spec, name, text) for name, text in values.items()}
        return {**self.config, **filled}

    def plus(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> "Answers":
        """With more answers, which replace older ones."""
        kept = {name: value for name, value in self.config.items() if name not in secrets}
        return replace(self, config={**kept, **config}, secrets={**self.secrets, **secrets})

    def without(self, names: Iterable[str]) -> "Answers":
        """With some questions open again."""
        gone = set(names)
        return replace(
            self,
            config={name: value for name, value in self.config.items() if name not in gone},
            secrets={name: value for name, value in self.secrets.items() if name not in gone},
        )

    def begun_method(self) -> AuthMethod | None:
        """The way to sign in that the answers have begun with."""
        methods = self.spec.auth_methods
        return next((one for one in methods if self.known & set(one.settings)), None)


def begin(
    connector: InstalledConnector,
    instance_id: str,
    config: Mapping[str, Any],
    secrets: Mapping[str, str],
    existing: Instance | None,
) -> Answers:
    """The answers given as options, on top of those of an instance that is there already."""
    spec = connector.spec()
    refuse_literal_secrets(spec, config)
    if existing and existing.source_type != spec.source_type:
        message = f"Instance {instance_id!r} reads {existing.source_type}."
        raise ConflictError(message, hint="Choose another name: --id NAME.")
    if existing is None:
        _refuse_vault(config)
        return Answers(instance_id, connector, spec, config, secrets)
    known = {name: value for name, value in existing.config.items() if name not in secrets}
    env = "dev" if existing.env == SANDBOX_ENV else existing.env
    return Answers(
        instance_id,
        connector,
        spec,
        {**known, **config},
        secrets,
        env,
        existing.schedule,
        existing,
    )


def _refuse_vault(config: Mapping[str, Any]) -> None:
    """The vault gives a secret to an instance that refers to it: to none that is not there yet."""
    for name, value in config.items():
        for text in value if isinstance(value, list) else [value]:
            found = REFERENCE.fullmatch(text) if isinstance(text, str) else None
            if found and found["secret"]:
                message = (
                    f"Setting {name!r} refers to the vault, which opens nothing for an instance "
                    f"that is not there yet. Give --secret {name}=- for a new secret, or use "
                    "`ipai instance add`."
                )
                raise ConfigurationError(message)


def with_sandbox(answers: Answers, settings: Mapping[str, Any]) -> Answers:
    """The stand-in's own settings in place of any others; never on top of a real instance."""
    existing = answers.existing
    if existing and existing.env != SANDBOX_ENV:
        message = f"Instance {existing.id!r} is a real one."
        raise ConflictError(message, hint="Try the stand-in under another name: --id NAME.")
    hidden = answers.spec.secret_names
    config = {name: value for name, value in settings.items() if name not in hidden}
    secrets = {name: str(value) for name, value in settings.items() if name in hidden}
    return replace(answers, config=config, secrets=secrets, env=SANDBOX_ENV, schedule=None)


def refuse_gaps(answers: Answers) -> None:
    """Raise when a required setting has no answer and nobody is there to ask."""
    for name, setting in answers.spec.settings.items():
        if setting.required and setting.default is None and name not in answers.known:
            how = f"--secret {name}=-" if setting.secret else f"--set {name}=VALUE"
            message = f"Setting {name!r} is required: {setting.description} Give it: {how}."
            raise ConfigurationError(message)


def given_secrets(
    spec: ConnectorSpec, pairs: Iterable[str], ask: Callable[[str], str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Secrets given as `name=-` or `name=@file`, and those that are only referred to."""
    references, values = {}, {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in spec.secret_names:
            known = ", ".join(sorted(spec.secret_names)) or "none"
            message = f"Connector {spec.source_type!r} has no secret {name!r}. It has: {known}."
            raise ConfigurationError(message)
        if REFERENCE.fullmatch(text):
            references[name] = _of_its_kind(spec, name, text)
        else:
            values[name] = _read_secret(name, text, ask)
    return references, values


def _read_secret(name: str, text: str, ask: Callable[[str], str]) -> str:
    if text in {"", "-"}:
        value = ask(name) if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    elif text.startswith("@"):
        value = file_text(text[1:])
    else:
        message = (
            f"Secret {name!r} is never an argument: others see those. Give {name}=- for standard "
            f"input, {name}=@FILE, or a reference such as {name}='${{VARIABLE}}'."
        )
        raise ConfigurationError(message)
    if not value.strip():
        message = f"Secret {name!r} is empty. Type it, or pass it on standard input."
        raise ConfigurationError(message)
    return value


def file_text(path: str) -> str:
    """What is in a file that holds a secret."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        message = f"File {path!r} cannot be read: {error}. Name one with the secret as text."
        raise ConfigurationError(message) from error


def _of_its_kind(spec: ConnectorSpec, name: str, text: str) -> Any:
    return [text] if spec.settings[name].type == "array" else text
