"""No file is ever unpickled or run: pickle and its relatives are not imported, arrays are loaded without objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mattingmfif"
FORBIDDEN = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}


def faults(text: str) -> Iterator[str]:
    """What in a module could run code that a file brings along."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            owner = getattr(getattr(function, "value", None), "id", "")
            options = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                names = [str(node.args[0].value)]
            plain = isinstance(function, ast.Name)
            if (called in ("eval", "exec") and plain) or (called in ("load", "dump") and owner == "joblib"):
                yield f"{owner}.{called}"
            if called == "load" and owner in ("np", "numpy") and options.get("allow_pickle") is not False:
                yield "np.load without allow_pickle=False"
            if called == "load" and owner == "torch" and options.get("weights_only") is not True:
                yield "torch.load without weights_only=True"
            if called in ("read_pickle", "to_pickle") or options.get("allow_pickle") is True:
                yield called
        yield from (name for name in names if name.split(".")[0] in FORBIDDEN)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_unpickles_nothing(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n try:\n  from cloudpickle import loads\n except ImportError: pass",
        "import importlib\nimportlib.import_module('dill')",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "torch.load(path, map_location='cpu')",
        "joblib.load(path)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_is_planted(text: str) -> None:
    assert list(faults(text))


def test_the_search_lets_pass_what_is_safe() -> None:
    safe = "self.model.eval()\nnp.load(path, allow_pickle=False)\njson.load(stream)\ntorch.load(p, weights_only=True)"
    assert list(faults(safe)) == []
