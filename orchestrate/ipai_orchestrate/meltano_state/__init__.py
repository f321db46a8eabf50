# SPDX-License-Identifier: Apache-2.0
"""Meltano's state backend `ipai://`: Meltano and our runner resume from the same rows.

Configure it with `state_backend: {uri: ipai://}`. The database is, in this order: the setting
`state_backend.ipai.dsn`, a host in the address (`ipai://user:password@host:5432/database`),
IPAI_DATABASE_URL, the embedded server.

A state id is `<environment>:<tap>-to-<target>[:<suffix>]`. Give an instance's id as the suffix
(`meltano run --state-id-suffix github-acme …`) to share its state with `ipai run github-acme`; the
environment, the tap and one of our Bronze targets must be the instance's. Every other state id has
a row of its own.
"""
