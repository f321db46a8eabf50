# SPDX-License-Identifier: Apache-2.0
"""Starts one connector so that it dies with its runner: run as a script, replaced by the connector.

Usage: python -I -S launcher.py RUNNER_PID COMMAND [ARGUMENT ...]
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:  # pragma: no cover - runs without site packages
    """Ask the kernel for SIGKILL when the runner's thread ends, then become the connector."""
    runner, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != runner:  # it died before the request took effect
        os._exit(128 + signal.SIGKILL)
    os.execv(command[0], command)  # noqa: S606 - becoming the connector is the point


if __name__ == "__main__":
    main(sys.argv[1:])
