# SPDX-License-Identifier: Apache-2.0
"""Pipelines: steps of instances and transforms, written as YAML and run through the queue."""

from ipai_orchestrate.pipelines.document import PipelineFile, check_pipeline, read_pipelines
from ipai_orchestrate.pipelines.register import (
    AppliedPipeline,
    PipelineRegister,
    PipelineRun,
    PipelineSummary,
)

__all__ = [
    "AppliedPipeline",
    "PipelineFile",
    "PipelineRegister",
    "PipelineRun",
    "PipelineSummary",
    "check_pipeline",
    "read_pipelines",
]
