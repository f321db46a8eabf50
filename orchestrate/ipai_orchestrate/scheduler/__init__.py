# SPDX-License-Identifier: Apache-2.0
"""Queues the runs of schedules when they are due; any number may do so at once."""

from ipai_orchestrate.scheduler.occurrences import Rule
from ipai_orchestrate.scheduler.schedules import Schedule, ScheduleBook

__all__ = ["Rule", "Schedule", "ScheduleBook"]
