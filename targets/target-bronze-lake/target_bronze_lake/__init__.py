# SPDX-License-Identifier: Apache-2.0
"""Singer target that lands records raw in Delta Lake or Parquet."""
