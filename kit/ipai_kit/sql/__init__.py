# SPDX-License-Identifier: Apache-2.0
"""SQL databases as sources: addresses, catalogs, reading in blocks that can be resumed."""
