"""What a VAEEDOF is and how it is trained: frozen settings, and the strict TOML recipes that fill them.

A recipe names every table it uses; an unknown key, a wrong type or an impossible value is an error that names the key
and what is allowed. The published ones lie beside this file in `recipes/`. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mattingmfif.dataset.recipe import nearest_key
from mattingmfif.errors import UserError

SCHEMA = 1
MAX_FRAMES = 7
STRIDE_PX = 8
STAGES = ("teacher", "distil", "fusion")
PRECISIONS = ("auto", "float32", "bfloat16")
DEGRADATIONS = ("physical", "hard-mask", "gaussian-srgb")


def _check(value: float, key: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{key}: {value:g} is not allowed; allowed: {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """`[model]`: the network's architecture; a checkpoint carries it."""

    stem_px: int = 2  # pixel-unshuffle of the stem; features exist at this stride, doubled until 8
    widths: tuple[int, ...] = (24, 64, 128)  # channels at each stride from stem_px to 8
    blocks: tuple[int, ...] = (1, 2, 3)  # residual blocks at each of these strides, in both halves
    latent_channels: int = 16
    fusion_width: int = 128  # channels of a token
    fusion_layers: int = 2
    fusion_heads: int = 4
    guide_channels: int = 16  # what latent fusion tells the finer scales about each frame
    score_width: int = 32  # hidden channels that score the frames at full resolution
    use_latent: bool = True  # the four parts that an ablation may take away
    use_skips: bool = True
    use_pixel_path: bool = True

    def __post_init__(self) -> None:
        """Refuse shapes that no network can have."""
        if self.stem_px not in (2, 4):
            raise UserError(f"model.stem_px: {self.stem_px} is not allowed; allowed: 2, 4")
        scales = len(self.strides_px)
        for key in ("widths", "blocks"):
            if len(getattr(self, key)) != scales:
                raise UserError(
                    f"model.{key}: {len(getattr(self, key))} values; stem_px = {self.stem_px} needs {scales}"
                )
        for width in self.widths:
            _check(width, "model.widths", 4, 1024)
            if width % 4:
                raise UserError(f"model.widths: {width} is not a multiple of 4")
        for count in self.blocks:
            _check(count, "model.blocks", 0, 16)
        limits = {
            "latent_channels": 64,
            "fusion_width": 1024,
            "fusion_layers": 8,
            "guide_channels": 256,
            "score_width": 256,
        }
        for key, most in limits.items():
            _check(getattr(self, key), f"model.{key}", 1, most)
        if self.fusion_heads < 1 or self.fusion_width % self.fusion_heads:
            raise UserError(
                f"model.fusion_heads: {self.fusion_heads} does not divide model.fusion_width {self.fusion_width}"
            )

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Strides of the feature maps from the stem's to 8."""
        return tuple(stride for stride in (2, 4, 8) if stride >= self.stem_px)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """`[teacher]`: our own larger auto-encoder, for those without an AutoencoderKL folder (`--teacher`)."""

    widths: tuple[int, ...] = (48, 128, 256)
    blocks: tuple[int, ...] = (2, 3, 4)
    kl_weight: float = 1e-6  # of the divergence from a unit normal, per latent value

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        _check(self.kl_weight, "teacher.kl_weight", 0, 1)


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """`[stages.teacher]`, `[stages.distil]`, `[stages.fusion]`: how long and how fast each stage learns."""

    steps: int = 1000
    batch: int = 4
    crop_px: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.999  # of the weights that are kept; reached gradually

    def __post_init__(self) -> None:
        """Refuse what cannot be a stage."""
        for key, low, high in (
            ("steps", 0, 10**8),
            ("batch", 1, 4096),
            ("crop_px", 32, 4096),
            ("learning_rate", 0, 1),
            ("warmup_steps", 0, 10**6),
            ("weight_decay", 0, 1),
            ("clip_norm", 1e-6, 1e6),
            ("ema_decay", 0, 0.999999),
        ):
            _check(getattr(self, key), f"stages: {key}", low, high)
        if self.crop_px % STRIDE_PX:
            raise UserError(f"stages: crop_px: {self.crop_px} is not a multiple of {STRIDE_PX}")


@dataclass(frozen=True, kw_only=True)
class Stages:
    """`[stages]`: one table a stage."""

    teacher: StageSettings = field(default_factory=StageSettings)
    distil: StageSettings = field(default_factory=StageSettings)
    fusion: StageSettings = field(default_factory=StageSettings)


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """`[losses]`: what errors cost."""

    latent: float = 1.0  # distil: squared difference of the latents
    feature: float = 0.1  # distil: squared difference of the deepest features, through a 1x1 head
    pixel: float = 1.0  # distil: absolute difference of the decoded pictures
    squared: float = 2.0  # fusion: squared difference, beside the absolute one, which counts 1
    gradient: float = 0.5  # fusion: absolute difference of neighbour differences
    ssim: float = 0.2  # fusion: 1 - SSIM
    boundary_weight: float = 4.0  # fusion: a boundary pixel counts 1 + this
    gap_weight: float = 4.0  # fusion: a pixel sharp in no frame counts 1 + this
    untrusted_weight: float = 0.25  # fusion: a pixel of invented content counts this much of a photographed one

    def __post_init__(self) -> None:
        """Refuse negative costs."""
        for item in dataclasses.fields(self):
            _check(getattr(self, item.name), f"losses.{item.name}", 0, 1000)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """`[data]`: what is drawn from a dataset for training."""

    frames_least: int = 2
    frames_most: int = 7
    drop_probability: float = 0.3  # that a stack loses frames (at least frames_least stay), which makes gaps
    single_probability: float = 0.03  # of one sharp frame alone, which must come back
    whole_probability: float = 0.03  # that one of the frames is sharp everywhere, which must be returned
    boundary_probability: float = 0.5  # that a crop is centred on a boundary or gap pixel
    disturb_probability: float = 1.0  # of the next four (none of noise and drift around a sharp frame)
    iso_least: float = 0.0  # sensor noise of the frames, drawn in stops between these two; 0 is none
    iso_most: float = 0.0
    exposure_drift_ev: float = 0.0  # most drift of a frame's exposure, either way
    shift_px: float = 0.0  # most misalignment of the frames, at most 0.5; the target stays
    flip: bool = True  # turned by quarters, mirrored
    swap_colours: bool = True  # channels in another order: other colours, the same light
    degrade: str = "physical"  # physical: the shards' frames; hard-mask, gaussian-srgb: frames remade from the mattes

    def __post_init__(self) -> None:
        """Refuse impossible draws."""
        _check(self.frames_least, "data.frames_least", 1, MAX_FRAMES)
        _check(self.frames_most, "data.frames_most", self.frames_least, MAX_FRAMES)
        for key in ("drop", "single", "whole", "boundary", "disturb"):
            _check(getattr(self, f"{key}_probability"), f"data.{key}_probability", 0, 1)
        _check(self.iso_most, "data.iso_most", 0, 1e6)
        _check(self.iso_least, "data.iso_least", 1 if self.iso_most else 0, self.iso_most)
        _check(self.exposure_drift_ev, "data.exposure_drift_ev", 0, 4)
        _check(self.shift_px, "data.shift_px", 0, 0.5)
        if self.degrade not in DEGRADATIONS:
            raise UserError(f"data.degrade: {self.degrade!r} is not allowed; allowed: {', '.join(DEGRADATIONS)}")


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """Everything that decides what a training makes, apart from data, seed and device."""

    name: str
    description: str = ""
    precision: str = "auto"  # float32, bfloat16 (autocast), or auto: bfloat16 on CUDA, float32 on the CPU
    model: ModelSettings = field(default_factory=ModelSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    stages: Stages = field(default_factory=Stages)
    losses: LossSettings = field(default_factory=LossSettings)
    data: DataSettings = field(default_factory=DataSettings)

    def __post_init__(self) -> None:
        """Refuse unknown precisions, and a teacher to be trained that does not fit the student."""
        if self.precision not in PRECISIONS:
            raise UserError(f"precision: {self.precision!r} is not allowed; allowed: {', '.join(PRECISIONS)}")
        if self.stages.teacher.steps:
            self.teacher_model()

    def teacher_model(self) -> ModelSettings:
        """The teacher's auto-encoder: the student's strides and latent, its own widths and blocks."""
        try:
            return dataclasses.replace(self.model, widths=self.teacher.widths, blocks=self.teacher.blocks)
        except UserError as error:
            raise UserError(str(error).replace("model.", "teacher.")) from None

    def to_plain(self) -> dict[str, Any]:
        """The recipe as plain JSON values, every default written out."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {"schema": SCHEMA, **plain}


def settings_from_plain(kind: type, plain: Any, prefix: str = "") -> Any:
    """An instance of the settings dataclass `kind` from plain values; UserError names the key that is wrong."""
    if not isinstance(plain, dict):
        raise UserError(f"{prefix.rstrip('.')}: {plain!r} must be a table")
    hints, known = typing.get_type_hints(kind), [item.name for item in dataclasses.fields(kind)]
    values: dict[str, Any] = {}
    for key, value in plain.items():
        if key not in known:
            raise UserError(f"{prefix}{key}: no such key; did you mean {prefix}{nearest_key(key, known)}?")
        wanted = hints[key]
        if dataclasses.is_dataclass(wanted):
            values[key] = settings_from_plain(typing.cast(type, wanted), value, f"{prefix}{key}.")
        elif typing.get_origin(wanted) is tuple:
            if not isinstance(value, list) or not all(type(item) is int for item in value):
                raise UserError(f"{prefix}{key}: {value!r} must be a list of whole numbers")
            values[key] = tuple(value)
        elif wanted is float and type(value) in (int, float):
            values[key] = float(value)
        elif type(value) is wanted:
            values[key] = value
        else:
            words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
            raise UserError(f"{prefix}{key}: {value!r} must be {words[wanted]}")
    missing = [
        item.name
        for item in dataclasses.fields(kind)
        if item.name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{prefix}{missing[0]}: missing")
    return kind(**values)


def recipe_from_plain(plain: dict[str, Any]) -> TrainRecipe:
    """The recipe of plain TOML or JSON values."""
    plain = dict(plain)
    if plain.pop("schema", None) != SCHEMA:
        raise UserError(f"schema: a training recipe starts with schema = {SCHEMA}")
    recipe: TrainRecipe = settings_from_plain(TrainRecipe, plain)
    return recipe


def published_train_recipes() -> list[str]:
    """Names of the training recipes that come with the package."""
    return sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.toml"))


def load_train_recipe(name_or_path: str) -> TrainRecipe:
    """The published training recipe of that name, or the one in that file."""
    path = Path(name_or_path)
    known = published_train_recipes()
    if name_or_path in known:
        path = Path(__file__).parent / "recipes" / f"{name_or_path}.toml"
    elif not path.is_file():
        raise UserError(f"no training recipe {name_or_path!r}: neither a file nor one of {', '.join(known)}")
    try:
        return recipe_from_plain(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path.name}: cannot be read as a training recipe: {error}") from None
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
