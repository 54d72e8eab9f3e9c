"""State of a training on disk: what is needed to go on to the same bits, and CSV logs that a resumed run continues."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.checkpoint import load_tensors, save_tensors


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments and step counts by name."""
    found = {}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            found[f"{number}.{name}"] = torch.as_tensor(value)
    return found


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put moments and step counts back."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def save_state(
    path: Path, step: int, identity: dict[str, Any], parts: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> None:
    """Everything after `step` steps, in one file that appears whole or not at all."""
    tensors = {f"optimiser/{k}": v for k, v in optimiser_tensors(optimiser).items()}
    for part, module in parts.items():
        tensors |= {f"{part}/{k}": v for k, v in module.state_dict().items()}
    save_tensors(path, tensors, {"step": str(step), "identity": json.dumps(identity, sort_keys=True)})


def check_state(path: Path, identity: dict[str, Any]) -> None:
    """UserError if there is a file and it belongs to another training."""
    if path.is_file():
        _agreed_step(path, load_tensors(path)[1], identity)


def load_state(
    path: Path, identity: dict[str, Any], parts: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> int:
    """Fill the parts from the file and return the step to go on with; UserError if it belongs to another training."""
    tensors, metadata = load_tensors(path)
    step = _agreed_step(path, metadata, identity)
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        groups.setdefault(part, {})[name] = value
    for part, module in parts.items():
        module.load_state_dict(groups[part])
    restore_optimiser(optimiser, groups.get("optimiser", {}))
    return step


def _agreed_step(path: Path, metadata: Mapping[str, str], identity: dict[str, Any]) -> int:
    try:
        found, step = json.loads(metadata["identity"]), int(metadata["step"])
    except (KeyError, ValueError):
        raise UserError(f"{path}: not the state of a training") from None
    wanted = json.loads(json.dumps(identity))
    differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if differing:
        raise UserError(f"{path}: belongs to a training with another {', '.join(differing)}; choose another --out")
    return step


class CsvLog:
    """A CSV file with a `step` column; rows of steps that will be done again are dropped when it is opened.

    A figure that could not be measured (not a number) is an empty cell.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        rows: list[dict[str, str]] = []
        if path.is_file() and first_step:
            with path.open(newline="") as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= first_step]
        path.unlink(missing_ok=True)
        for row in rows:
            self.write(row)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; the first decides the columns."""
        new = not self.path.is_file()
        with self.path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            if new:
                writer.writeheader()
            writer.writerow({k: _cell(v) for k, v in row.items()})


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"  # nothing was there to be measured
