"""The rooms and their doors, read from the code: who imports whom, and where heavy libraries come in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mattingmfif"

#: data flows down this list; a room imports itself and rooms above it
ROOMS = ["pixels", "photo", "matting", "optics", "scene", "dataset", "vaeedof", "cli"]

#: the only files (or rooms) that may import a heavy library
DOORS = {
    "numba": [
        "pixels/kernels.py",
        "optics/kernels.py",
        "optics/ray_kernels.py",
        "dataset/kernels.py",
        "matting/kernels.py",
        "matting/colour_kernels.py",
    ],
    "pymatting": ["matting/"],
    "rembg": ["matting/"],
    "onnxruntime": ["matting/"],
    "OpenEXR": ["photo/depth_files.py"],
    "pillow_heif": ["photo/heif.py"],
    "pyarrow": ["dataset/", "photo/sources.py"],
    "joblib": ["dataset/engines.py"],
    "dask": ["dataset/clusters.py"],
    "distributed": ["dataset/clusters.py"],
    "ray": ["dataset/clusters.py"],
    "torch": ["vaeedof/", "dataset/torch_loader.py", "dataset/tensors.py"],
    "safetensors": ["vaeedof/"],
    "click": ["cli/"],
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions, `try:` and importlib calls with a literal name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def is_type_checking_only(path: Path, line: int) -> bool:
    """Whether a line stands under `if TYPE_CHECKING:`, which never runs."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            return node.body[0].lineno <= line <= (node.body[-1].end_lineno or line)
    return False


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_file_lies_in_a_known_room() -> None:
    assert {room_of(path) for path in files()} <= {*ROOMS, "__init__", "errors"}
    assert len(files()) > 30


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else []
    if room == "optics":
        allowed = ["pixels", "optics"]  # importable alone: nothing of files or matting
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "mattingmfif" or len(parts) < 2 or parts[1] in ("errors", "__version__"):
            continue
        if room == "__init__" and is_type_checking_only(path, line):
            continue
        if parts[1] not in ROOMS:
            assert hasattr(__import__("mattingmfif"), parts[1]), f"{path.name}:{line}: {name}"
            continue
        assert parts[1] in allowed, f"{path.relative_to(PACKAGE)}:{line}: {room} must not import {name}"


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_comes_in_by_its_door(library: str) -> None:
    for path in files():
        where = path.relative_to(PACKAGE).as_posix()
        for line, name in imports(path):
            if name.split(".")[0] == library and not is_type_checking_only(path, line):
                assert any(
                    where == door or (door.endswith("/") and where.startswith(door)) for door in DOORS[library]
                ), f"{where}:{line}: {library} may be imported in {DOORS[library]} only"


def test_the_walk_over_imports_sees_functions_and_try_blocks(tmp_path: Path) -> None:
    """The fault planted: an import that hides is found."""
    path = tmp_path / "hidden.py"
    path.write_text(
        "def f():\n try:\n  import numba.core\n except ImportError:\n  from torch import nn\n"
        "import importlib\nimportlib.import_module('ray')\n"
    )
    assert {name.split(".")[0] for _, name in imports(path)} == {"numba", "torch", "importlib", "ray"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_and_its_command_line_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'cv2', 'numba', 'pyarrow', 'scipy', 'PIL', 'torch', 'pymatting', 'joblib', 'skimage'}"
    code = f"import sys, mattingmfif, mattingmfif.cli; print(sorted({heavy} & set(sys.modules)))"
    assert run(code).strip() == "[]"


def test_the_optics_import_without_the_other_rooms_and_their_libraries() -> None:
    code = (
        "import sys, mattingmfif.optics; "
        "print(sorted(n for n in sys.modules if n.startswith('mattingmfif.') and n.count('.') == 1), "
        "sorted({'pyarrow', 'PIL', 'pymatting', 'joblib', 'skimage', 'torch', 'click'} & set(sys.modules)))"
    )
    assert run(code).strip() == "['mattingmfif.errors', 'mattingmfif.optics', 'mattingmfif.pixels'] []"


def test_the_public_names_are_there_and_dir_shows_them() -> None:
    import mattingmfif

    for name in mattingmfif.__all__:
        assert getattr(mattingmfif, name) is not None
        assert name in dir(mattingmfif)
    with pytest.raises(AttributeError, match="no attribute 'thin_lens'"):
        mattingmfif.thin_lens  # noqa: B018


def test_every_reason_code_in_the_code_is_documented() -> None:
    from mattingmfif.errors import REASONS

    found = set()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused"
            if named and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    assert found <= set(REASONS), sorted(found - set(REASONS))
    assert len(found) > 10
