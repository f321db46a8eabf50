# SPDX-License-Identifier: Apache-2.0
"""Generates the Silver models from the streams' JSON Schemas and one hand-written YAML per source.

    schemas/streams/<source>/<stream>.json ─┐
    transform/silver/<source>.yml ──────────┴─> transform/models/silver/<source>/
                                                <source>_<entity>.sql and .yml, _sources.yml

The same input gives the same bytes, so a test can tell whether the committed files are current.
"""

from ipai_orchestrate.transform.silver.generate import SilverDrift, generate

__all__ = ["SilverDrift", "generate"]
