# SPDX-License-Identifier: Apache-2.0
"""What the platform says about itself: metrics for Prometheus, alerts for people."""

from ipai_orchestrate.monitor.metrics import Sample, exposition, read_metrics

__all__ = ["Sample", "exposition", "read_metrics"]
