#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Measure what loading costs, beside the peers and the limit; `--help` shows the options."""

from loading.command import main

if __name__ == "__main__":
    main()
