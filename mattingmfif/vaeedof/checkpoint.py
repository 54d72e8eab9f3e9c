"""Weights on disk: safetensors files that say in their header what they are, written aside and renamed.

The header's metadata: `format` = mattingmfif.vaeedof, `version`, `kind` (vaeedof or teacher), `model` (the settings as
JSON), `about` (JSON: recipe, seed, data, steps, figures). No pickle anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.settings import ModelSettings, settings_from_plain

FORMAT = "mattingmfif.vaeedof"
VERSION = "2"  # 2: the latent comes with a view of its frame
SHIPPED = Path(__file__).parent / "weights" / "vaeedof-cpu.safetensors"


def write_aside(path: Path, content: bytes) -> None:
    """`content` at `path`, whole or not at all; UserError (input/output) if it cannot be written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}", EXIT_IO) from None


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file with metadata."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_aside(path, save(plain, metadata=metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; UserError for a missing, truncated or foreign file."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the .safetensors file in it")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:  # type: ignore[no-untyped-call]
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a whole safetensors file ({line})") from None


def save_model(
    path: Path, model: nn.Module, settings: ModelSettings, kind: str, about: dict[str, Any], half: bool
) -> None:
    """Weights of `model` (`half`: as float16) with what they are."""
    tensors = {k: v.half() if half and v.is_floating_point() else v for k, v in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "model": json.dumps(dataclasses.asdict(settings), sort_keys=True),
        "about": json.dumps(about, sort_keys=True),
    }
    save_tensors(path, tensors, metadata)


def save_half(source: Path, target: Path, figures: dict[str, Any] | None = None) -> int:
    """A copy of a VAEEDOF checkpoint with float16 weights, as the package ships them; its size in bytes.

    figures: what the network reached, kept in its story under that name.
    """
    tensors, metadata = load_tensors(source)
    settings, about = read_about(metadata, source, "vaeedof")
    model = VAEEDOF(settings)
    fill(model, tensors, source)
    about = about if figures is None else {**about, "figures": figures}
    save_model(target, model, settings, "vaeedof", about, half=True)
    return target.stat().st_size


def read_about(metadata: dict[str, str], path: Path, kind: str) -> tuple[ModelSettings, dict[str, Any]]:
    """Settings and story in a checkpoint's metadata; UserError if it is not a checkpoint of this kind."""
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not of VAEEDOF (no format = {FORMAT} in its header)")
    if metadata.get("version") != VERSION or metadata.get("kind") != kind:
        found = f"kind {metadata.get('kind')!r}, version {metadata.get('version')!r}"
        raise UserError(f"{path}: {found}; expected kind {kind!r}, version {VERSION!r}")
    try:
        settings: ModelSettings = settings_from_plain(ModelSettings, json.loads(metadata["model"]), "model.")
        return settings, dict(json.loads(metadata.get("about", "{}")))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its header does not describe a model of this version ({error})") from None


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `model`; UserError if they are those of another architecture."""
    wanted = model.state_dict()
    missing, foreign = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or foreign:
        which = f"lacks {missing[0]}" if missing else f"has {foreign[0]}"
        raise UserError(f"{path}: weights of another architecture ({which}; {len(missing) + len(foreign)} such names)")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            sizes = f"{name} is {list(tensor.shape)}, not {list(wanted[name].shape)}"
            raise UserError(f"{path}: weights of another architecture ({sizes})")
        if not bool(torch.isfinite(tensor.float()).all()):
            raise UserError(f"{path}: {name} holds values that are not numbers")
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})


def load_model(path: str | Path | None = None) -> tuple[VAEEDOF, dict[str, Any]]:
    """The VAEEDOF at `path` (None: the one that comes with the package), in evaluation mode, and its story."""
    file = SHIPPED if path is None else Path(path)
    tensors, metadata = load_tensors(file)
    settings, about = read_about(metadata, file, "vaeedof")
    model = VAEEDOF(settings)
    fill(model, tensors, file)
    return model.eval(), about
