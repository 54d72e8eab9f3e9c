"""Photographs in a folder, and what is known about who may use them.

Paths are relative to the folder, with forward slashes, sorted: so plans and shards never hold a machine's own paths.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mattingmfif.errors import UserError

#: endings of photographs, and the formats (as Pillow names them) that may hide behind each
FORMATS_OF_SUFFIX: dict[str, frozenset[str]] = {
    ".jpg": frozenset({"JPEG", "MPO"}),
    ".jpeg": frozenset({"JPEG", "MPO"}),
    ".png": frozenset({"PNG"}),
    ".tif": frozenset({"TIFF"}),
    ".tiff": frozenset({"TIFF"}),
    ".webp": frozenset({"WEBP"}),
    ".heic": frozenset({"HEIF"}),
    ".heif": frozenset({"HEIF"}),
}
#: `flower.alpha.png` beside `flower.jpg` tells something about that photograph; it is not one itself
SIDECAR_KINDS = ("alpha", "mask", "trimap", "scribbles", "plate", "depth", "box")
LICENCE_FILE = "LICENSES.csv"
_COLUMNS = ("path", "licence", "author", "url")


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Who made a photograph and on which terms it may be used; `unknown` where nobody said."""

    licence: str = "unknown"
    author: str = ""
    url: str = ""


def is_sidecar(path: str) -> bool:
    """True for `name.alpha.png`, `name.mask.2.png` and the like: input that belongs to another file."""
    return sidecar_of(path) is not None


def sidecar_of(path: str) -> tuple[str, str] | None:
    """(path without ending of the photograph, kind) that a sidecar's relative path names; None for other files.

    A hidden file is none: file managers leave `._name.alpha.png` and the like beside what they copy.
    """
    name = PurePosixPath(path).name.split(".")
    if not name[0]:
        return None
    place = next((k for k, part in enumerate(name[:-1]) if k and part.lower() in SIDECAR_KINDS), None)
    if place is None:
        return None
    return PurePosixPath(path).with_name(".".join(name[:place])).as_posix(), name[place].lower()


def names_photo(path: str) -> bool:
    """Whether a relative path is that of a photograph: by its ending, nothing hidden on the way, and no sidecar."""
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return PurePosixPath(path).suffix.lower() in FORMATS_OF_SUFFIX and not hidden and not is_sidecar(path)


def as_text(path: str) -> str:
    """A relative path as it can stand in a file of text: bytes that are no UTF-8 as escapes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def find_photos(src: Path | str, follow_links: bool = False, exclude: Iterable[Path] = ()) -> list[str]:
    """Relative paths of all photographs under `src`, sorted; hidden files, sidecars and links that lead out are not.

    `exclude` names folders to leave out (mattes, depth maps, the output). Raises UserError where `src` is no folder.
    """
    root = Path(src)
    if not root.is_dir():
        raise UserError(f"--src {src}: no such folder")
    return _found(root, follow_links, exclude, names_photo)


def find_sidecars(src: Path | str, follow_links: bool = False, exclude: Iterable[Path] = ()) -> list[str]:
    """Relative paths of all files that are named as input for a photograph, found as photographs are."""
    return _found(Path(src), follow_links, exclude, is_sidecar)


def _found(root: Path, follow_links: bool, exclude: Iterable[Path], wanted: Callable[[str], bool]) -> list[str]:
    real_root = root.resolve()
    excluded = {Path(folder).resolve() for folder in exclude}
    return sorted(
        path.relative_to(root).as_posix()
        for path in _walk(root, follow_links, excluded)
        if wanted(path.name) and path.is_file() and (follow_links or path.resolve().is_relative_to(real_root))
    )


def _walk(root: Path, follow_links: bool, excluded: set[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder, subfolders, names in os.walk(root, followlinks=follow_links):
        here = Path(folder).resolve()
        if here in seen or here in excluded:  # a loop of links, or a folder with another meaning
            subfolders.clear()
            continue
        seen.add(here)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder) / name for name in names)


def read_licences(src: Path | str) -> dict[str, Licence]:
    """Licences by relative path from `src/LICENSES.csv`; {} where there is no such file.

    Columns: path, licence, and optionally author and url, in any order. Raises UserError that names the line at fault.
    """
    file = Path(src) / LICENCE_FILE
    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return _licence_rows(file, csv.DictReader(stream, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{LICENCE_FILE}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise UserError(f"{LICENCE_FILE}: not a CSV file ({error})") from error


def _licence_rows(file: Path, reader: csv.DictReader[str]) -> dict[str, Licence]:
    columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
    columns = ["licence" if name == "license" else name for name in columns]
    unknown = [name for name in columns if name not in _COLUMNS]
    if "path" not in columns or "licence" not in columns or unknown:
        raise UserError(
            f"{file.name}: the first line must name the columns path, licence and optionally author, url; "
            f"it has {', '.join(columns) or 'nothing'}"
        )
    reader.fieldnames = columns
    licences: dict[str, Licence] = {}
    for row in reader:
        where = f"{file.name} line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{where}: {len(columns)} columns expected; quote values that hold commas")
        path = PurePosixPath(row["path"].strip().replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or str(path) == ".":
            raise UserError(f"{where}: path {row['path']!r} must be relative to the folder of photographs")
        if str(path) in licences:
            raise UserError(f"{where}: {path} has a second licence; keep one line for each photograph")
        licences[str(path)] = Licence(
            licence=row["licence"].strip() or "unknown",
            author=(row.get("author") or "").strip(),
            url=(row.get("url") or "").strip(),
        )
    return licences
