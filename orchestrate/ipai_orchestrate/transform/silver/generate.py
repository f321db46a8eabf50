# SPDX-License-Identifier: Apache-2.0
"""Writes the generated models, or tells which of the committed ones are out of date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.transform.silver.columns import SilverModel, plan_model
from ipai_orchestrate.transform.silver.contract import load_contracts
from ipai_orchestrate.transform.silver.decisions import SourceDecisions
from ipai_orchestrate.transform.silver.render import MARK, model_sql, model_yaml, sources_yaml


@dataclass(frozen=True)
class SilverDrift:
    """Files that differ from what would be generated: to write, and to remove."""

    written: tuple[Path, ...]
    removed: tuple[Path, ...]

    def __bool__(self) -> bool:
        return bool(self.written or self.removed)


def generate(transform: Path, schemas: Path, *, check: bool = False) -> SilverDrift:
    """Bring models/silver up to date with the streams; with `check`, only tell the difference."""
    folder = transform / "models" / "silver"
    wanted: dict[Path, str] = {}
    for source in sorted(path for path in (schemas / "streams").glob("*") if path.is_dir()):
        decisions = SourceDecisions.load(transform / "silver" / f"{source.name}.yml")
        for path, text in source_files(source, decisions).items():
            wanted[folder / path] = text
    written = [path for path, text in wanted.items() if _read(path) != text]
    removed = [path for path in _generated(folder) if path not in wanted]
    if not check:
        for path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        for path in removed:
            path.unlink()
    return SilverDrift(tuple(written), tuple(removed))


def source_files(schemas: Path, decisions: SourceDecisions) -> dict[Path, str]:
    """Text of every file of one source, by path below models/silver."""
    contracts = load_contracts(schemas)
    unknown = decisions.streams - {contract.stream for contract in contracts}
    if unknown:
        message = (
            f"{str(decisions.path)!r} names streams without a contract: "
            f"{', '.join(sorted(unknown))}. Remove them, or export their schemas first."
        )
        raise ConfigurationError(message)
    models = [plan_model(contract, decisions.of(contract.stream)) for contract in contracts]
    _refuse_shared_names(models)
    folder = Path(schemas.name)
    files = {folder / "_sources.yml": sources_yaml(schemas.name, models)} if models else {}
    for model in models:
        files[folder / f"{model.name}.sql"] = model_sql(model)
        files[folder / f"{model.name}.yml"] = model_yaml(model)
    return files


def _refuse_shared_names(models: list[SilverModel]) -> None:
    seen: dict[str, str] = {}
    for model in models:
        other = seen.setdefault(model.name, model.contract.stream)
        if other != model.contract.stream:
            message = (
                f"Streams {other!r} and {model.contract.stream!r} both become {model.name!r}. "
                f"Give one another entity in transform/silver/{model.source}.yml."
            )
            raise ConfigurationError(message)


def _generated(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in {".sql", ".yml"})
    return [path for path in files if MARK in (_read(path) or "")]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
