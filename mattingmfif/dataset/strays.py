"""Files named as input that belong to nothing: a misspelt name is no wish, and nothing that is given is left unread."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.files import is_remote
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.remote import walk
from mattingmfif.errors import UserError
from mattingmfif.photo.sources import sidecar_of

#: endings of files that say something about a photograph
SIDECAR_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".npy", ".pfm", ".exr", ".txt"}


def refuse_strays(paths: list[str], inputs: Inputs, beside: list[str]) -> None:
    """UserError that names a file which belongs to no photograph of `paths`, or could not be read as what it is named.

    Looked at are all files in --mattes and --depth, and those `beside` the photographs (relative paths of sidecars).
    """
    _refuse_unread(paths, inputs, beside)
    if inputs.mattes is None and inputs.depth is None:
        return
    with contextlib.ExitStack() as stack:
        # of what lies beside the photographs of a remote folder nothing is a stray
        aside = replace(inputs, src=Path(os.devnull)) if is_remote(inputs.src) else inputs
        for option in ("mattes", "depth"):
            if is_remote(place := getattr(inputs, option)):
                aside = replace(aside, **{option: stack.enter_context(_names_only(option, place))})
        used = {file.resolve() for path in paths for _, file in aside.sidecars(path)}
        for option in ("mattes", "depth"):
            folder = getattr(aside, option)
            for file in sorted(folder.rglob("*")) if folder is not None else ():
                if any(part.startswith(".") for part in file.relative_to(folder).parts):
                    continue  # hidden, as it is among the photographs
                if file.suffix.lower() in SIDECAR_SUFFIXES and file.resolve() not in used:
                    raise UserError(
                        f"--{option} {redacted(str(getattr(inputs, option)))}: {file.relative_to(folder).as_posix()} "
                        "belongs to no photograph in --src; name it after its photograph, or move it away"
                    )


def _refuse_unread(paths: list[str], inputs: Inputs, beside: list[str]) -> None:
    photos: dict[str, list[str]] = {}
    for path in paths:
        photos.setdefault(PurePosixPath(path).with_suffix("").as_posix(), []).append(path)
    for name in beside:
        owner, kind = sidecar_of(name) or ("", "")
        # with --mattes or --depth the files there count, and those beside the photographs do not
        aside = inputs.depth if kind == "depth" else inputs.mattes
        if aside is not None or PurePosixPath(name).suffix.lower() not in SIDECAR_SUFFIXES:
            continue
        if owner not in photos:
            raise UserError(
                f"{name}: named as the {kind} of a photograph {PurePosixPath(owner).name}, and none lies beside it; "
                "name it after its photograph, or move it away"
            )
        file = (Path(inputs.src) / name).resolve()
        if not any(file == used.resolve() for path in photos[owner] for _, used in inputs.sidecars(path)):
            raise UserError(
                f"{name}: not used: there is another {kind}, or it is of a kind that is not read (see the README, "
                '"What goes in"); rename it, or move it away'
            )


@contextlib.contextmanager
def _names_only(option: str, address: str) -> Iterator[Path]:
    """A folder with empty files of the names that a remote one has; UserError where there are none."""
    names = walk(address)
    if not names:
        raise UserError(f"--{option} {redacted(address)}: no such folder, or nothing in it")
    with tempfile.TemporaryDirectory(prefix="mattingmfif-") as folder:
        for name in names:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).touch()
        yield Path(folder)
