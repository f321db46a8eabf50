# SPDX-License-Identifier: Apache-2.0
"""Each peer in a virtual environment of its own, made by uv outside the checkout and kept."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

_ROOT = Path(__file__).resolve().parents[2]
_OURS = "ours"
_PLAIN = str.maketrans("[", "-", "]")
_TARGETS = ("targets/target-bronze-postgres[parquet]", "targets/target-bronze-lake")
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Peer:
    """What is installed for a peer; overrides replace pins that cannot be installed any more."""

    name: str
    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """What the table of versions says."""
        return ", ".join(self.shown or self.requirements)


MELTANO = Peer("meltanolabs-target-postgres", ("meltanolabs-target-postgres==0.8.1",))
PIPELINEWISE = Peer("pipelinewise-target-postgres", ("pipelinewise-target-postgres==2.1.2",))
SLING = Peer("sling", ("sling-linux-amd64==1.4.11",))
DLT = Peer(
    "dlt",
    ("dlt[postgres,parquet,filesystem]==1.31.0", "adbc-driver-postgresql==1.13.0"),
)
# Neither can be installed from the package index: its target-parquet is another, of 2019.
_PARQUET = "target-parquet @ git+https://github.com/"
AUTOMATTIC = Peer(
    "target-parquet-automattic",
    (f"{_PARQUET}Automattic/target-parquet@8bfbb1796e71d52863f821f5c1445525a6cea3d5",),
    shown=("target-parquet 1.1.2 (Automattic, 8bfbb17)",),
)
ESTRATEGIA = Peer(
    "target-parquet-estrategiahq",
    (
        f"{_PARQUET}estrategiahq/target-parquet@ec79755c4fbc3d54eed6cee5ff50a26a073e76c1",
        "setuptools<81",  # it imports pkg_resources without asking for it
    ),
    overrides=("pyarrow==14.0.2", "numpy<2"),
    shown=(
        "target-parquet 0.2.2 (estrategiahq, ec79755; pyarrow 14.0.2 instead of its pin 4.0.1)",
    ),
)
PEERS = (MELTANO, PIPELINEWISE, SLING, DLT, AUTOMATTIC, ESTRATEGIA)


@dataclass(frozen=True)
class Environment:
    """A peer's folder, or why there is none."""

    home: Path
    problem: str = ""

    def command(self, name: str) -> str:
        """Path of a command of the peer."""
        return str(self.home / "bin" / name)


@dataclass
class Environments:
    """Makes environments when they are asked for."""

    home: Path
    is_here_ours: bool = False
    """Whether our targets are those of the environment that this runs in."""
    made: dict[str, Environment] = field(default_factory=dict)

    @property
    def ours(self) -> Environment:
        """Our targets as somebody installs them: with what they declare and nothing else."""
        if self.is_here_ours:
            return Environment(Path(sys.prefix))
        if _OURS not in self.made:
            self.made[_OURS] = _install_ours(self.home / _OURS, ("kit[landing]", *_TARGETS))
        return self.made[_OURS]

    def our_tap(self, folder: str, extras: str = "") -> Environment:
        """A tap of ours alone, installed likewise; with extras, e.g. `[arrow]`, if it is to."""
        if self.is_here_ours:
            return Environment(Path(sys.prefix))
        name = folder + extras
        if name not in self.made:
            home = self.home / f"ours-{name.translate(_PLAIN)}"
            self.made[name] = _install_ours(home, ("kit", f"taps/{name}"))
        return self.made[name]

    def of(self, peer: Peer) -> Environment:
        """The environment of a peer; made at most once, also when it fails."""
        if peer.name not in self.made:
            self.made[peer.name] = _make(peer, self.home / peer.name)
        return self.made[peer.name]


def cache_home() -> Path:
    """Where environments and streams are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ipai-bench"


def _make(peer: Peer, home: Path) -> Environment:
    wanted = json.dumps([_PYTHON, peer.requirements, peer.overrides])
    receipt = home / "installed.json"
    if receipt.exists() and receipt.read_text() == wanted:
        return Environment(home)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        return Environment(home, "not installed: uv is missing")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.write("\n".join(peer.overrides))
        overrides.flush()
        problem = _run(uv, "venv", "-q", "-p", _PYTHON, str(home)) or _run(
            *(uv, "pip", "install", "-q", "--python", str(home / "bin" / "python")),
            *("--overrides", overrides.name, *peer.requirements),
        )
    if problem:
        return Environment(home, f"not installed: {problem}")
    receipt.write_text(wanted)
    return Environment(home)


def _install_ours(home: Path, folders: tuple[str, ...]) -> Environment:
    """The checkout's packages, built anew each time: nobody measures yesterday's code."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        return Environment(home, "not installed: uv is missing")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    packages = [str(_ROOT / name) for name in folders]
    problem = _run(uv, "venv", "-q", "-p", _PYTHON, str(home)) or _run(
        *(uv, "pip", "install", "-q", "--no-sources", "--python", str(home / "bin" / "python")),
        *("--constraint", str(_ROOT / "requirements.lock"), "--refresh", *packages),
    )
    return Environment(home, f"not installed: {problem}" if problem else "")


def _run(*command: str) -> str:
    """The last words of a command that fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (lines or [f"exit code {done.returncode}"])[-1][:200] if done.returncode else ""
