# SPDX-License-Identifier: Apache-2.0
"""The thin runner: one tap piped into one target, its STATE stored under the run's lease."""
