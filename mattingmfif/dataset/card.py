"""The dataset card: `OUT/README.md` with the Hub's front matter, every number counted from the shards.

The text says what a user must know: how to load it, what the columns mean, how it was made, whose photographs are in it
and under which licences, and what it is not good for. Names from data are escaped. `OUT/sources.csv` lists every
source photograph with its attribution; croissant.json is written with the same numbers.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mattingmfif.dataset.croissant import write_croissant
from mattingmfif.dataset.describe import Description, describe, spread_choice
from mattingmfif.dataset.escape import csv_table, link, markdown, redacted, yaml_text
from mattingmfif.dataset.layer_store import COLOUR_COLUMNS as LAYER_COLOUR_COLUMNS
from mattingmfif.dataset.layer_store import DISTANCE_COLUMNS, KNOWN_COLUMNS, MATTE_COLUMNS
from mattingmfif.dataset.preview_config import PREVIEW_CONFIG_FOLDER, write_preview_config
from mattingmfif.dataset.reader import Shards, open_shards
from mattingmfif.dataset.sample import ALPHA_COLUMNS, FRAME_COLUMNS, TRUST_COLUMNS, SourceRecord
from mattingmfif.dataset.whole_files import write_whole

CARD_FILE = "README.md"
SOURCES_CSV = "sources.csv"

#: licences as the Hub writes them, by SPDX identifier in lower case
_HUB_LICENCES = frozenset(
    {"cc0-1.0", "apache-2.0", "mit", "bsd-3-clause", "unlicense", "pddl", "odc-by", "unknown"}
    | {f"cc-{kind}-{version}" for kind in ("by", "by-nc", "by-sa", "by-nc-sa") for version in ("2.0", "3.0", "4.0")}
    | {"cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"}
)
#: the Hub's names of splits
_HUB_SPLITS = {"val": "validation"}
_SOURCES_SHOWN = 40

#: what each column means, once for the card, Croissant and the README
COLUMN_TEXTS: dict[str, str] = {
    "sample_id": "identifier of the sample, lower-case letters and digits",
    "split": "train, val or test; no source photograph and no near-duplicate is in two splits",
    "sources": "photographs it is made of: path, sha256 of the file, licence, author, url",
    "licence": "licences of all its sources, joined by AND",
    "camera": "focal length and sensor width in mm, f-number, image width in px, aperture, depth coding, draws, models",
    "layers": "layers nearest first, the background last: kind, index of the source, nearest and farthest metres",
    "focus_plan": "how the focus distances were chosen: tile, layers, random or gap",
    "focus_distance_m": "focus distance of every frame in metres",
    "all_in_focus": "the target: the scene without blur, sRGB",
    **{name: "a frame of the stack, sRGB; null beyond the last frame" for name in FRAME_COLUMNS},
    "depth": "distance of the layer seen most: uint16, 1 / metres = code * camera.depth_scale + camera.depth_offset",
    **{name: "matte of a layer, uint16, 65535 = opaque, 0 the nearest; null beyond the last" for name in ALPHA_COLUMNS},
    "sharpest_frame": "index of the frame with the least blur radius; 255 where it is over 0.5 px in all (the gap)",
    "boundary": "255 where the blur of a matte edge reaches in some frame, else 0",
    "trust": "share of the target's light that was photographed and not invented, 255 = all",
    **{name: "the same share for a frame; null beyond the last frame" for name in TRUST_COLUMNS},
    "preview": "small JPEG of target and frames",
    "pixel_sha256": "for every image sha256 of type, shape and pixels, independent of the codec",
    "codec": "how image cells are coded: tiff (256-px tiles, zstd, horizontal predictor) or png",
    "recipe_hash": "sha256 of the resolved recipe",
    "plan_id": "sha256 of everything that decides the pixels",
    "format_version": "version of these columns",
    "toolkit_version": "version of mattingmfif that made the sample",
}

#: columns of shards that store layers, behind the others
LAYER_TEXTS: dict[str, str] = {
    **{name: "sRGB of a layer on the canvas, 0 the nearest, the last the background" for name in LAYER_COLOUR_COLUMNS},
    **{name: "matte of a layer on the canvas, where the canvas has a margin; else alpha_k" for name in MATTE_COLUMNS},
    **{name: "share of a layer's colour that was photographed, null where all of it was" for name in KNOWN_COLUMNS},
    **{name: "inverse distance of a layer that recedes, coded as in layer_store" for name in DISTANCE_COLUMNS},
    "layer_store": "margin of the canvas in px, quality, largest blur radius, mean light, coding of distances",
}


def write_card(out: Path, data: Path | str | None = None) -> Path:
    """Write README.md, sources.csv, croissant.json and preview/ into `out` from its shards; the path of the card.

    The shards lie in `out`, or in the folder at the address `data`.
    """
    data = out if data is None else data
    shards = open_shards(data)
    numbers = describe(shards)
    name = _recipe_name(out)
    write_whole(out / SOURCES_CSV, sources_csv(numbers.sources).encode())
    write_croissant(out, numbers, name, {**COLUMN_TEXTS, **LAYER_TEXTS}, data)
    previewed = [path.stem for path in write_preview_config(out, shards)]
    path = out / CARD_FILE
    write_whole(path, card(shards, numbers, name, previewed).encode())
    return path


def card(shards: Shards, numbers: Description, name: str, previewed: Sequence[str] = ()) -> str:
    """The text of the card; `previewed` are the splits of the `preview` config."""
    picture = shards[spread_choice(shards, 1)[0]].sample_id if len(shards) else ""
    parts = [
        _front_matter(numbers, name, previewed),
        f"# {markdown(name)}: focal stacks with a true all-in-focus target",
        "Training data for multi-focus image fusion. Real photographs are taken apart into layers by alpha matting, "
        "every layer gets a distance, and the layered scene is photographed again through a thin lens at several focus "
        "distances. The target is the same scene without blur: frames and target agree exactly where a frame is sharp.",
        f"![a sample with its maps and frames](previews/{picture}.jpg)" if picture else "",
        _numbers_section(numbers),
        _loading_section(numbers),
        _columns_section(numbers.store),
        _making_section(numbers),
        _sources_section(numbers),
        _limits_section(numbers),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def sources_csv(sources: Sequence[SourceRecord]) -> str:
    """The attribution of source photographs as CSV: path, sha256, licence, author, url."""
    rows = [[item.path, item.sha256, item.licence, item.author, redacted(item.url)] for item in sources]
    return csv_table(["path", "sha256", "licence", "author", "url"], rows)


def _recipe_name(out: Path) -> str:
    path = out / "recipe.lock.toml"
    try:
        plain: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return str(plain["name"])
    except (OSError, KeyError, ValueError):
        return "mattingmfif"


def _front_matter(numbers: Description, name: str, previewed: Sequence[str]) -> str:
    licences = sorted({part.lower() for text in numbers.licences for part in text.split(" AND ")})
    known = all(licence in _HUB_LICENCES for licence in licences)
    lines = ["---", f"pretty_name: {yaml_text(name)}"]
    if known:
        lines += ["license:", *(f"- {licence}" for licence in licences)]
    else:
        lines += ["license: other", "license_name: several-see-sources-csv", f"license_link: {SOURCES_CSV}"]
    lines += [
        "task_categories:",
        "- image-to-image",
        "- depth-estimation",
        "annotations_creators:",
        "- machine-generated",
    ]
    lines += ["size_categories:", f"- {_size_category(numbers.samples)}", "tags:"]
    lines += ["- image", "- multi-focus-image-fusion", "- focus-stacking", "- depth-of-field", "- synthetic"]
    lines += ["configs:", "- config_name: default", "  default: true", "  data_files:"]
    for split in numbers.splits:
        lines += [f"  - split: {_HUB_SPLITS.get(split.name, split.name)}", f"    path: data/{split.name}-*.parquet"]
    if previewed:
        lines += ["- config_name: preview", "  data_files:"]
    for split_name in previewed:
        lines += [f"  - split: {_HUB_SPLITS.get(split_name, split_name)}"]
        lines += [f"    path: {PREVIEW_CONFIG_FOLDER}/{split_name}.parquet"]
    return "\n".join([*lines, "---"])


def _size_category(samples: int) -> str:
    for limit, text in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if samples < limit:
            return text
    return "n>1M"


def _numbers_section(numbers: Description) -> str:
    rows = [
        [split.name, split.samples, split.frames, split.sources, split.shards, megabytes(split.total_bytes)]
        for split in numbers.splits
    ]
    whole = ["all", numbers.samples, numbers.total_frames, len(numbers.sources)]
    whole += [sum(split.shards for split in numbers.splits), megabytes(numbers.total_bytes)]
    table = _table(["split", "samples", "frames", "source photographs", "shards", "size"], [*rows, whole])
    shares = numbers.shares
    facts = [
        [
            "image size, px",
            _counted({f"{width} x {height}": count for (width, height), count in numbers.sizes.items()}),
        ],
        ["bits a channel of frames and target", str(numbers.bits)],
        ["frames a stack", _counted(numbers.frames)],
        ["layers a scene, with the background", _counted(numbers.layers)],
        ["focus plan", _counted(numbers.plans)],
        ["focal length, mm", spread(numbers.focal_length_mm)],
        ["f-number", spread(numbers.f_number)],
        ["nearest layer, m", spread(numbers.nearest_m)],
        ["farthest layer, m", spread(numbers.farthest_m)],
        ["largest blur radius of a sample, px", spread(numbers.largest_radius_px)],
        ["sharp in no frame (the gap), % of the pixels", spread([100 * value for value in shares.gap])],
        ["reached by the blur of a matte edge, %", spread([100 * value for value in shares.boundary])],
        ["target wholly photographed, %", spread([100 * value for value in shares.target_photographed])],
        ["wholly photographed in every frame, %", spread([100 * value for value in shares.frames_photographed])],
    ]
    note = (
        f"Spreads are least / median / largest by sample; shares of pixels are measured on {len(shares.gap)} samples."
    )
    return "\n\n".join(["## Numbers", table, _table(["", "by sample"], facts), note])


def _loading_section(numbers: Description) -> str:
    sixteen = ""
    if numbers.bits == 16:
        sixteen = (
            "\n\nFrames and target have 16 bits a channel. Pillow would silently give 8, so `datasets` returns their "
            "bytes; read them with `mattingmfif`."
        )
    return f"""## Loading

```python
from mattingmfif import open_shards

sample = open_shards("PATH/TO/THIS/FOLDER")[0]
sample.frames  # [N, H, W, 3] sRGB
sample.target  # [H, W, 3]
sample.depth_m  # [H, W] metres
sample.blur_radius_px(0)  # [H, W] signed, of frame 0
sample.crop(0, 0, 512, 512).frames  # decodes only the tiles it needs
```

```python
from datasets import load_dataset

stacks = load_dataset("PATH/TO/THIS/FOLDER")  # pictures; absent frames are None
few = load_dataset("PATH/TO/THIS/FOLDER", "preview")  # small pictures of some samples
```{sixteen}"""


def _columns_section(store: str) -> str:
    texts = COLUMN_TEXTS if store == "frames" else {**COLUMN_TEXTS, **LAYER_TEXTS}
    groups = [FRAME_COLUMNS, ALPHA_COLUMNS, TRUST_COLUMNS]
    groups += [LAYER_COLOUR_COLUMNS, MATTE_COLUMNS, KNOWN_COLUMNS, DISTANCE_COLUMNS]
    first = {names[0]: f"{names[0]} … {names[-1]}" for names in groups}
    rest = {name for names in groups for name in names[1:]}
    rows = [[f"`{first.get(name, name)}`", markdown(text)] for name, text in texts.items() if name not in rest]
    note = ""
    if store == "layers":
        note = (
            "\n\nThis dataset stores layers: `all_in_focus` and `frame_k` are null, and `sample.target` and "
            "`sample.frames` are photographed when they are read, by the recorded camera or by another "
            "(`mattingmfif.dataset.photograph`)."
        )
    return "## Columns\n\n" + _table(["column", "meaning"], rows) + note


def _making_section(numbers: Description) -> str:
    networks = [
        f"{markdown(name)} ({markdown(part)} of {count} samples; licence {markdown(licence)}; SHA-256 {_code(sha256)})"
        for (part, name, licence, sha256), count in sorted(numbers.models.items())
    ]
    return "\n\n".join(
        [
            "## How it was made",
            f"By mattingmfif {', '.join(markdown(text) for text in numbers.toolkit_versions)} with the recipe in "
            f"`recipe.lock.toml` (hash {', '.join(_code(text[:16]) for text in numbers.recipe_hashes)}; plan "
            f"{', '.join(_code(text[:16]) for text in numbers.plan_ids)}). The same recipe, seed and photographs make "
            "the same pixels; `mattingmfif verify` checks every image against its hash and against the camera record.",
            "Blur is computed in linear light with premultiplied colour, by a thin lens in millimetres and metres; a "
            "signed blur radius is negative in front of the focus plane. Frames and target are stored without sensor "
            "noise unless the recipe says otherwise; a trainer adds it, by the same law to every frame.",
            *([f"Networks that had a part in it: {'; '.join(networks)}."] if networks else []),
        ]
    )


def _sources_section(numbers: Description) -> str:
    by_licence = Counter(source.licence for source in numbers.sources)
    rows = [[markdown(licence), count] for licence, count in sorted(by_licence.items())]
    shown = [
        [markdown(source.path), markdown(source.licence), markdown(source.author), link(source.url)]
        for source in numbers.sources[:_SOURCES_SHOWN]
    ]
    more = ""
    if len(numbers.sources) > _SOURCES_SHOWN:
        more = f"\n\n{len(numbers.sources) - _SOURCES_SHOWN} more in `{SOURCES_CSV}`."
    return "\n\n".join(
        [
            "## Sources and licences",
            _table(["licence", "photographs"], rows),
            "Every sample names its sources; whoever passes samples on passes their attribution on. "
            f"All: `{SOURCES_CSV}`.",
            _table(["photograph", "licence", "author", "address"], shown) + more,
        ]
    )


def _limits_section(numbers: Description) -> str:
    unknown = sum(source.licence == "unknown" for source in numbers.sources)
    lines = [
        "- What lies behind a subject was never photographed: the fill is plausible, not true; trust maps say where.",
        "- A layer has one distance or a smooth ramp; the relief inside a subject is not modelled.",
        "- Mattes are estimated. Where a matte is wrong, target and frames are wrong together: they stay consistent.",
        "- Highlights that were clipped in a photograph blur darker than real ones, unless the recipe expands them.",
        "- The change of magnification with focus is left out unless the recipe draws it.",
    ]
    if unknown:
        lines.append(
            f"- Photographs of unknown licence: {unknown}. Nobody has said that they may be passed on, so a dataset "
            "with them should not be published as it is."
        )
    return "## Limits\n\n" + "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Least / median / largest with three digits, one number where all are equal, `none` for nothing."""
    if not values:
        return "none"
    low, middle, high = min(values), float(np.median(values)), max(values)
    texts = [f"{value:.3g}" for value in (low, middle, high)]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def megabytes(count: int) -> str:
    """A number of bytes for people: kB, MB or GB of a thousand."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _counted(counts: Any) -> str:
    items = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    text = ", ".join(f"{markdown(str(name))} ({count})" for name, count in items[:8])
    return text + (f", {len(items) - 8} more" if len(items) > 8 else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _code(text: str) -> str:
    return f"`{re.sub(r'[^0-9A-Za-z._-]', '', text)}`"
