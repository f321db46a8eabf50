# SPDX-License-Identifier: Apache-2.0
"""What loading costs: our targets, their peers and the limit, measured in turns."""
