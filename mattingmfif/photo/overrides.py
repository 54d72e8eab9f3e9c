"""`overrides.csv` beside the photographs: what a person decided about single ones, whatever the gates say.

    path,verdict,note
    trip/fox.jpg,keep,the soft grass is far away and does not matter
    trip/owl.jpg,refuse,the wings are motion-blurred

`keep` waives the gates of taste (sharpness, grain, matte and plate); a file that cannot be read stays refused. `refuse`
leaves the photograph out. The file is part of a plan's identity, as the photographs are.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mattingmfif.errors import UserError

OVERRIDES_FILE = "overrides.csv"
VERDICTS = ("keep", "refuse")
_COLUMNS = ("path", "verdict", "note")


@dataclass(frozen=True, kw_only=True)
class Override:
    """What a person decided about a photograph, and why."""

    verdict: str
    note: str = ""


def read_overrides(src: Path | str) -> dict[str, Override]:
    """Overrides by relative path from `src/overrides.csv`; {} where there is no such file.

    Raises UserError that names the line at fault.
    """
    file = Path(src) / OVERRIDES_FILE
    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return _rows(csv.DictReader(stream, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{OVERRIDES_FILE}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise UserError(f"{OVERRIDES_FILE}: not a CSV file ({error})") from error


def refuse_unknown_paths(overrides: Mapping[str, Override], photos: Sequence[str]) -> None:
    """UserError that names a path which is none of the photographs: a misspelt name is no wish."""
    known = set(photos)
    for path in overrides:
        if path not in known:
            raise UserError(f"{OVERRIDES_FILE}: {path!r} is none of the photographs; paths are relative to the folder")


def _rows(reader: csv.DictReader[str]) -> dict[str, Override]:
    columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
    if not {"path", "verdict"} <= set(columns) <= set(_COLUMNS):
        raise UserError(
            f"{OVERRIDES_FILE}: the first line must name the columns path, verdict and optionally note; "
            f"it has {', '.join(columns) or 'nothing'}"
        )
    reader.fieldnames = columns
    found: dict[str, Override] = {}
    for row in reader:
        where = f"{OVERRIDES_FILE} line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{where}: {len(columns)} columns expected; quote notes that hold commas")
        path = str(PurePosixPath(row["path"].strip().replace("\\", "/")))
        verdict = row["verdict"].strip().lower()
        if verdict not in VERDICTS:
            raise UserError(f"{where}: verdict {row['verdict']!r} is unknown; allowed: {', '.join(VERDICTS)}")
        if path in found:
            raise UserError(f"{where}: {path} has a second verdict; keep one line for each photograph")
        found[path] = Override(verdict=verdict, note=(row.get("note") or "").strip())
    return found
