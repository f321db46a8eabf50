# SPDX-License-Identifier: Apache-2.0
"""Entry of ``python -m ipai_kit.sandbox``."""

import sys

from ipai_kit.sandbox.command import main

if __name__ == "__main__":
    sys.exit(main())
