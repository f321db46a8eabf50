# SPDX-License-Identifier: Apache-2.0
"""Ways to sign in: values and callables on the request."""
