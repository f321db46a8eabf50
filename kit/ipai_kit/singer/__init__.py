# SPDX-License-Identifier: Apache-2.0
"""Singer messages as bytes: the fast lanes in and out."""
