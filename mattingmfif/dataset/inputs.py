"""What a user gives beside the photographs: mattes, depth maps, lists of licences and overrides; here or remote."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mattingmfif.dataset.files import inside, is_remote, list_folder
from mattingmfif.dataset.plan import stays_inside
from mattingmfif.dataset.remote import fetch_file
from mattingmfif.errors import Refused
from mattingmfif.matting.sidecars import matte_files
from mattingmfif.photo.depth import find_depth, find_depth_beside
from mattingmfif.photo.images import file_sha256
from mattingmfif.photo.overrides import OVERRIDES_FILE
from mattingmfif.photo.sources import LICENCE_FILE, as_text, is_sidecar

_FETCHES_AT_ONCE = 8
_LISTS = (LICENCE_FILE, OVERRIDES_FILE)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where the photographs and what the user says about them lie."""

    src: Path | str  # a folder here, or the address of a remote one
    mattes: Path | str | None = None  # likewise
    depth: Path | str | None = None  # likewise
    depth_model: Path | None = None  # the ONNX file that the recipe's depth.model names
    rembg_weights: Path | None = None  # that of matting.rembg_model, where it does not lie in rembg's folders

    @contextlib.contextmanager
    def at_hand(self, paths: Iterable[str]) -> Iterator[Inputs]:
        """Inputs on this machine for the photographs `paths`; those of a remote folder are fetched for a while.

        Raises OSError where the other side cannot be reached; a photograph that is not there any more is left out.
        """
        if not self.any_remote:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="mattingmfif-") as folder:
            here = self
            for path in dict.fromkeys(paths):
                if not stays_inside(path):
                    raise Refused("bad-name", "the name leads out of the folder")
                if is_remote(self.src):
                    address = str(self.src)
                    _fetch(address, [path, *companions(path, _names_beside(address, path))], Path(folder) / "photos")
                for aside in ("mattes", "depth"):
                    if is_remote(place := getattr(self, aside)):
                        _fetch(place, _names_of(place, path), Path(folder) / aside)
            for name, part in (("src", "photos"), ("mattes", "mattes"), ("depth", "depth")):
                if is_remote(getattr(self, name)):
                    here = replace(here, **{name: Path(folder) / part})
            yield here

    @property
    def any_remote(self) -> bool:
        """Whether anything of it lies elsewhere."""
        return any(is_remote(place) for place in (self.src, self.mattes, self.depth) if place is not None)

    def sidecars(self, photo_path: str) -> Iterator[tuple[str, Path]]:
        """(name in the plan, file) of everything that says something about a photograph, sorted by name."""
        found = [(f"matte:{file.name}", file) for file in matte_files(self.src, photo_path, self.mattes)]
        depth = self.depth_file(photo_path)
        if depth is not None:
            found.append((f"depth:{depth.name}", depth))
        return iter(sorted(found))

    def depth_file(self, photo_path: str) -> Path | None:
        """The photograph's depth map in the folder that was given, else beside it as `name.depth.*`."""
        if self.depth is None:
            return find_depth_beside(self.src, photo_path)
        found = find_depth(self.depth, photo_path)
        photo = Path(self.src) / photo_path
        return None if found is not None and photo.is_file() and found.samefile(photo) else found


@contextlib.contextmanager
def lists_at_hand(src: Path | str) -> Iterator[Path]:
    """The folder of photographs; of a remote one a folder with its lists of licences and overrides, for a while."""
    if not is_remote(src):
        yield Path(src)
        return
    with tempfile.TemporaryDirectory(prefix="mattingmfif-") as folder:
        for name in _LISTS:
            with contextlib.suppress(FileNotFoundError):
                fetch_file(inside(str(src), name), Path(folder) / name)
        yield Path(folder)


def _fetch(address: str, names: Iterable[str], folder: Path) -> None:
    """Bring files by relative path; those that are not there any more are left out."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            fetch_file(inside(address, name), folder / name)


def _names_of(address: str, photo_path: str) -> list[str]:
    """Files of a remote folder of mattes or depth maps that may be a photograph's: in its sub-folder, and on top."""
    start, parent = PurePosixPath(photo_path).stem + ".", PurePosixPath(photo_path).parent
    return [
        (folder / name).as_posix()
        for folder in dict.fromkeys((parent, PurePosixPath(".")))
        for name in _folder_names(address, str(folder))
        if name.startswith(start)
    ]


def companions(photo_path: str, names: Iterable[str]) -> list[str]:
    """Those of the relative paths that say something about a photograph: `name.alpha.png` beside `name.jpg`."""
    start = str(PurePosixPath(photo_path).with_suffix("")) + "."
    return [name for name in names if name.startswith(start) and is_sidecar(name)]


@functools.lru_cache(maxsize=16)
def _folder_names(address: str, parent: str) -> tuple[str, ...]:
    return tuple(list_folder(inside(address, parent) if parent != "." else address))


def _names_beside(address: str, path: str) -> list[str]:
    """Relative paths of the files in the folder of a remote photograph; listed once by each worker."""
    parent = PurePosixPath(path).parent
    return [(parent / name).as_posix() for name in _folder_names(address, str(parent))]


def input_files(paths: list[str], inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """(name, sha256) of photographs, sidecars, licence list and overrides, sorted: what a plan's identity is made of.

    A file that cannot be read counts with the digest of nothing: the scan refuses it with its reason.
    """
    if inputs.any_remote:
        return _remote_input_files(paths, inputs)
    src = Path(inputs.src)
    files = {path: src / path for path in paths}
    for path in paths:
        files |= {f"{name} of {path}": file for name, file in inputs.sidecars(path)}
    for name in _LISTS:
        if (src / name).is_file():
            files[name] = src / name
    return tuple(sorted((as_text(name), _digest(file)) for name, file in files.items()))


def _remote_input_files(paths: list[str], inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """The same of a remote folder, a few photographs at a time: what they are called there is all that they share."""

    def of_one(path: str) -> tuple[tuple[str, str], ...]:
        with inputs.at_hand([path]) as here:
            return input_files([path], here)

    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        found = {pair for pairs in pool.map(of_one, paths) for pair in pairs}
    with lists_at_hand(inputs.src) as lists:
        found |= {(name, _digest(lists / name)) for name in _LISTS if (lists / name).is_file()}
    return tuple(sorted(found))


def _digest(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError:
        return hashlib.sha256(b"").hexdigest()
