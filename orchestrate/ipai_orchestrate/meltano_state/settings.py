# SPDX-License-Identifier: Apache-2.0
"""The setting that Meltano learns from this package."""

from meltano.core.setting_definition import SettingDefinition, SettingKind

IPAI_DSN = SettingDefinition(
    name="state_backend.ipai.dsn",
    label="Control plane",
    description="PostgreSQL address of the control plane; empty: IPAI_DATABASE_URL, else embedded.",
    kind=SettingKind.STRING,
    sensitive=True,
    env_specific=True,
)
