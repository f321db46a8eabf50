# SPDX-License-Identifier: Apache-2.0
"""Performs the runs of the queue, several at once, until it is told to end."""

from ipai_orchestrate.worker.shift import Worker, WorkerOptions, WorkerReport

__all__ = ["Worker", "WorkerOptions", "WorkerReport"]
