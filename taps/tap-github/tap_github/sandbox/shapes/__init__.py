# SPDX-License-Identifier: Apache-2.0
"""The shapes in which GitHub's API tells what is true."""
