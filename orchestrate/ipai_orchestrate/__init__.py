# SPDX-License-Identifier: Apache-2.0
"""The thin orchestrator: runs taps into targets, keeps their state, launches dbt."""
