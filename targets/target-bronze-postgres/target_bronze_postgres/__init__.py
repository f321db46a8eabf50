# SPDX-License-Identifier: Apache-2.0
"""A Singer target that lands records raw in Postgres, next to as fast as COPY."""
