"""The parts of the README that the code knows best: file map, commands, config."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from musc.architectures import ARCHITECTURES
from pipeline.cli import app
from pipeline.config import Config
from pipeline.config_file import UNIONS
from pipeline.weights_registry import REGISTRY

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge", "edge/sources", "musc", "pipeline")


def file_map() -> str:
    """Return each module with the first line of its docstring."""
    lines: list[str] = []
    for package in PACKAGES:
        lines += [f"\n**{package}/**\n", "| module | what it is |", "|---|---|"]
        for path in sorted((ROOT / package).glob("*.py")):
            doc = ast.get_docstring(ast.parse(path.read_text())) or ""
            if path.name != "__init__.py":
                lines.append(f"| `{path.name}` | {doc.splitlines()[0]} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return each command with its help and options."""
    lines = ["| command | does | options |", "|---|---|---|"]
    group: Any = get_command(app)
    subcommands = {
        f"{name} {sub_name}": sub
        for name, command in group.commands.items()
        for sub_name, sub in getattr(command, "commands", {}).items()
    }
    for name, command in (group.commands | subcommands).items():
        options = ", ".join(
            f"`{max(parameter.opts, key=len)}`"
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
        )
        lines.append(f"| `{name}` | {command.help.splitlines()[0]} | {options} |")
    return "\n".join(lines) + "\n"


def config_table() -> str:
    """Return each config key with its default and meaning."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        if name in UNIONS:
            lines += _union_rows(name)
        elif hasattr(field.annotation, "model_fields"):
            lines += _rows(name, field.annotation, skip=set())
        else:
            lines.append(_row(name, field))
    return "\n".join(lines) + "\n"


def _union_rows(name: str) -> list[str]:
    """Return the rows of a section of several kinds; what kinds have in common comes once."""
    models = {
        model.model_fields["kind"].annotation.__args__[0]: model
        for model in get_args(get_args(UNIONS[name])[0])
    }
    kinds_of: dict[tuple[str, str], list[str]] = {}
    for kind, model in models.items():
        for key, field in model.model_fields.items():
            if key != "kind":
                kinds_of.setdefault((key, _row(f"{name}@.{key}", field)), []).append(kind)
    order = {kind: number for number, kind in enumerate(models)}
    ranked = sorted(kinds_of.items(), key=lambda item: (-len(item[1]), order[item[1][0]]))
    return [
        row.replace("@", "" if len(kinds) == len(models) else f" ({', '.join(kinds)})", 1)
        for (_, row), kinds in ranked
    ]


def backbones() -> str:
    """Return each backbone with what it is, what it costs and where it comes from."""
    lines = [
        "| backbone | image px | patch px | parameters | download | licence | from |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in REGISTRY.values():
        millions = ARCHITECTURES[entry.architecture].parameters_millions
        origin = f"hub `{entry.hub_repo}`"
        if entry.wheel is not None:
            origin += f", or the wheel `{entry.wheel.requirement}`"
        lines.append(
            f"| `{entry.name}` | {entry.image_size_px} | {entry.patch_px} | {millions:.0f} M "
            f"| {entry.download_mb} MB | {entry.licence} | {origin} |"
        )
    return "\n".join(lines) + "\n"


def _rows(section: str, model: Any, skip: set[str]) -> list[str]:
    return [
        _row(f"{section}.{key}", field)
        for key, field in model.model_fields.items()
        if key not in skip
    ]


def _row(key: str, field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "required" if field.is_required() else f"`{_toml(default)}`"
    return f"| `{key}` | {shown} | {field.description} |"


def _toml(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
