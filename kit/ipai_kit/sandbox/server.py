# SPDX-License-Identifier: Apache-2.0
"""Serves a stand-in on loopback, in this process or in a thread of it."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

START_SECONDS = 10.0


class SandboxServer(uvicorn.Server):
    """A uvicorn server that says when it is ready and can stop with its parent process."""

    def __init__(
        self,
        app: Starlette,
        *,
        on_ready: Callable[[], None],
        stop_with_parent: bool = False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_ready = on_ready
        self._parent = os.getppid() if stop_with_parent else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell whoever waits."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: stop when the parent has gone."""
        orphaned = self._parent is not None and os.getppid() != self._parent
        return await super().on_tick(counter) or orphaned


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by each connection: a body must not wait 40 ms for the header's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Starlette,
    listener: socket.socket,
    on_ready: Callable[[], None],
    *,
    stop_with_parent: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; a clean stop is not an error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops by itself and raises the signal once more when it has: let that pass
        signal.signal(number, lambda *_: None)
    SandboxServer(app, on_ready=on_ready, stop_with_parent=stop_with_parent).run([listener])


@contextlib.contextmanager
def served(app: Starlette, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve an app in a thread of this process; yields its URL."""
    ready = threading.Event()
    listener = listening_socket(host, port)
    server = SandboxServer(app, on_ready=ready.set)
    thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(START_SECONDS):
            message = f"The sandbox did not start within {START_SECONDS:.0f} s. Look at its log."
            raise TimeoutError(message)
        yield address(listener)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        listener.close()
