"""Recipes: strict TOML files that say how a dataset is made, read, checked, resolved and hashed.

A recipe's tables are the settings of the rooms, one dataclass a table, one field a key; an unknown key, a wrong type or
an impossible value is an error that names the key, the value and what is allowed. No includes, no code. A published
recipe never changes: a changed one gets a new name.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mattingmfif.errors import UserError
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.photo.gates import GateSettings
from mattingmfif.scene.draw import Drawn
from mattingmfif.scene.settings import (
    LATER,
    ApertureSettings,
    DepthSettings,
    DistanceSettings,
    FocusSettings,
    HighlightSettings,
    LensSettings,
    SceneSettings,
    SensorSettings,
    ShotSettings,
)

SCHEMA = 1
MAX_RECIPE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """`[output]`: size and amount of what is stored."""

    long_side_px: int = 3840  # larger photos are reduced to it, never cropped, never enlarged
    bits: int = 8  # of frames and target, 8 or 16
    samples_per_photo: int = 1
    samples_per_shard: int = 4
    preview_long_side_px: int = 640

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        for key, low, high in (
            ("long_side_px", 64, 16384),
            ("samples_per_photo", 1, 1000),
            ("samples_per_shard", 1, 1000),
            ("preview_long_side_px", 64, 2048),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise UserError(f"output.{key}: {value} is not allowed; allowed: {low} to {high}")
        if self.bits not in (8, 16):
            raise UserError(f"output.bits: {self.bits} is not allowed; allowed: 8, 16")


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """`[splits]`: shares of the source photos; a photo and its near-duplicates are in one split."""

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that do not make a whole."""
        for name in ("train", "val", "test"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"splits.{name}: {getattr(self, name):g} is not allowed; allowed: 0 to 1")
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise UserError(
                f"splits.train: {self.train:g} with val {self.val:g} and test {self.test:g} makes {total:g}, not 1"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a dataset holds, apart from the photographs and the seed."""

    name: str
    description: str = ""
    output: OutputSettings = field(default_factory=OutputSettings)
    splits: SplitSettings = field(default_factory=SplitSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    matting: MattingSettings = field(default_factory=MattingSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    scene: SceneSettings = field(default_factory=SceneSettings)
    distances: DistanceSettings = field(default_factory=DistanceSettings)
    lens: LensSettings = field(default_factory=LensSettings)
    aperture: ApertureSettings = field(default_factory=ApertureSettings)
    focus: FocusSettings = field(default_factory=FocusSettings)
    sensor: SensorSettings = field(default_factory=SensorSettings, metadata=LATER)
    highlights: HighlightSettings = field(default_factory=HighlightSettings, metadata=LATER)

    def __post_init__(self) -> None:
        """Refuse what only two tables together make impossible."""
        focal_m = max(float(value) for value in self.lens.focal_length_mm.possible) / 1000
        nearest_m = min(float(value) for value in self.distances.nearest_m.possible)
        if nearest_m < 2 * focal_m:
            raise UserError(
                f"distances.nearest_m: {nearest_m:g} is too near to focus on with lens.focal_length_mm = "
                f"{focal_m * 1000:g}; allowed: at least twice the focal length ({2 * focal_m:g})"
            )
        if self.depth.near_m < 2 * focal_m:
            raise UserError(
                f"depth.near_m: {self.depth.near_m:g} is too near to focus on with lens.focal_length_mm = "
                f"{focal_m * 1000:g}; allowed: at least twice the focal length ({2 * focal_m:g})"
            )

    @property
    def shot_settings(self) -> ShotSettings:
        """The tables that the room `scene` needs."""
        return ShotSettings(
            scene=self.scene,
            distances=self.distances,
            depth=self.depth,
            lens=self.lens,
            aperture=self.aperture,
            focus=self.focus,
            sensor=self.sensor,
            highlights=self.highlights,
            bits=self.output.bits,
        )

    def to_plain(self, complete: bool = False) -> dict[str, Any]:
        """The recipe as plain values with defaults written out (JSON and TOML can hold it).

        Unless `complete`, keys that came after the first recipes were published are left out where they have their
        default, so that the identity of a published recipe stays what it was.
        """
        return {"schema": SCHEMA, **_plain(self, complete)}

    def canonical_json(self) -> str:
        """One text for one meaning: sorted keys, no spaces; what `recipe_hash` is taken over."""
        return json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)

    @property
    def recipe_hash(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def to_toml(self) -> str:
        """The recipe as a TOML file that `parse_recipe` reads back to an equal recipe."""
        plain = self.to_plain(complete=True)
        lines = [f"schema = {SCHEMA}"]
        lines += [
            f"{key} = {_toml(value)}" for key, value in plain.items() if not isinstance(value, dict) and key != "schema"
        ]
        for table, values in plain.items():
            if isinstance(values, dict):
                lines += ["", f"[{table}]"] + [f"{key} = {_toml(value)}" for key, value in values.items()]
        return "\n".join(lines) + "\n"

    def replaced(self, overrides: dict[str, Any]) -> Recipe:
        """The recipe with `{"table.key": value}` from the command line in place."""
        plain = self.to_plain(complete=True)
        for dotted, value in overrides.items():
            table, key = dotted.split(".")
            plain[table][key] = value
        return recipe_from_plain(plain, "the command line")


def _plain(value: Any, complete: bool) -> Any:
    if isinstance(value, Drawn):
        return value.to_plain()
    if dataclasses.is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name), complete)
            for item in dataclasses.fields(value)
            if complete or not (item.metadata.get("later") and getattr(value, item.name) == _default(item))
        }
    if isinstance(value, tuple):
        return [_plain(item, complete) for item in value]
    return value


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # JSON's escapes are a subset of TOML's basic strings, but for DEL
        return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    raise TypeError(f"no TOML form for {value!r}")


def nearest_key(key: str, known: list[str]) -> str:
    """The known key that somebody who wrote `key` most likely meant."""
    starts = [name for name in known if name.startswith(key) or key.startswith(name)]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return (starts or close)[0]


def _typed(value: Any, annotation: Any, key: str, default: Any) -> Any:
    """`value` as the field's type, or a UserError."""
    origin = typing.get_origin(annotation)
    if annotation is Drawn:
        return Drawn.parse(value, key)
    if origin in (typing.Union, types.UnionType):
        options = [item for item in typing.get_args(annotation) if item is not type(None)]
        return None if value is None else _typed(value, options[0], key, default)
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{key}: {value!r} must be a list, such as {list(default) if default else []}")
        item = typing.get_args(annotation)[0]
        return tuple(_typed(element, item, key, None) for element in value)
    wanted = {float: "a number", int: "a whole number", str: "a word", bool: "true or false"}[annotation]
    good = {
        float: isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value),
        int: isinstance(value, int) and not isinstance(value, bool),
        str: isinstance(value, str),
        bool: isinstance(value, bool),
    }[annotation]
    if not good:
        raise UserError(
            f"{key}: {value!r} must be {wanted}" + (f", such as {default!r}" if default is not None else "")
        )
    return float(value) if annotation is float else value


def _fill(kind: type, plain: dict[str, Any], prefix: str) -> Any:
    """An instance of settings dataclass `kind` from a TOML table."""
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in plain.items():
        dotted = f"{prefix}{key}"
        if key not in known:
            raise UserError(f"{dotted}: no such key; did you mean {prefix}{nearest_key(key, list(known))}?")
        annotation = hints[key]
        if dataclasses.is_dataclass(annotation) and annotation is not Drawn:
            if not isinstance(value, dict):
                raise UserError(f"{dotted}: {value!r} must be a table [{dotted}]")
            values[key] = _fill(typing.cast(type, annotation), value, f"{dotted}.")
        else:
            default = known[key].default
            shown = default.to_plain() if isinstance(default, Drawn) else default
            values[key] = _typed(value, annotation, dotted, None if default is dataclasses.MISSING else shown)
    try:
        return kind(**values)
    except UserError as error:
        # rooms name their own keys; the recipe knows the table
        raise UserError(str(error) if "." in str(error).split(":")[0] else f"{prefix}{error}") from None


def recipe_from_plain(plain: dict[str, Any], where: str) -> Recipe:
    """The recipe of plain TOML/JSON values; UserError (prefixed with `where`) names key, value and what is allowed."""
    plain = dict(plain)
    if "schema" not in plain:
        raise UserError(f"{where}: schema: missing; a recipe starts with schema = {SCHEMA}")
    schema = plain.pop("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise UserError(f"{where}: schema: {schema!r} is not known; allowed: {SCHEMA}")
    if "name" not in plain:
        raise UserError(f"{where}: name: missing; a recipe has a name of small letters, digits, '-' and '.'")
    try:
        recipe: Recipe = _fill(Recipe, plain, "")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not recipe.name or not set(recipe.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."):
        raise UserError(f"{where}: name: {recipe.name!r} may hold small letters, digits, '-' and '.' only")
    return recipe


def parse_recipe(text: str, where: str) -> Recipe:
    """The recipe in a TOML text; `where` is named in errors."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not a TOML file: {error}") from None
    if next(iter(plain), None) != "schema":
        raise UserError(f"{where}: schema: must be the first key; write schema = {SCHEMA} on the first line")
    return recipe_from_plain(plain, where)


def recipes_folder() -> Path:
    """The folder of the published recipes: inside the package of a wheel, at the top of a checkout otherwise."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise UserError("the published recipes are missing from this installation; install mattingmfif again")


def published_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in recipes_folder().glob("*.toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """The published recipe of that name, or the recipe in that file."""
    path = Path(name_or_path)
    if path.suffix != ".toml" and name_or_path in published_recipes():
        path = recipes_folder() / f"{name_or_path}.toml"
    elif not path.is_file():
        known = published_recipes()
        if path.suffix == ".toml" or len(path.parts) > 1:
            raise UserError(f"{name_or_path}: no such file; published recipes: {', '.join(known)}")
        raise UserError(
            f"no recipe {name_or_path!r}: neither a file nor a published name; "
            f"did you mean {nearest_key(name_or_path, known)}? published: {', '.join(known)}"
        )
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UserError(f"{path.name}: larger than {MAX_RECIPE_BYTES} bytes, so not a recipe")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: cannot be read as a recipe: {error}") from None
    return parse_recipe(text, path.name)
