"""The README says what is true: its commands exist, its Python runs, its tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mattingmfif
from mattingmfif.cli import cli
from mattingmfif.errors import REASONS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_stands_in_the_readme() -> None:
    for name in cli.commands:
        assert f"mattingmfif {name}" in README, f"the README does not mention `mattingmfif {name}`"


def test_every_command_the_readme_names_exists_with_its_options() -> None:
    shell = " && ".join(re.findall(r"```sh\n(.*?)```", README, re.S)).replace("\n", " && ")
    lines = [
        part.strip().removeprefix("mattingmfif ")
        for part in shell.split("&&")
        if part.strip().startswith("mattingmfif ")
    ]
    assert len(lines) >= 2
    for line in lines:
        words = line.split()
        if words[0] not in cli.commands:
            pytest.fail(f"the README runs `mattingmfif {words[0]}`, which does not exist")
        options = {option for param in cli.commands[words[0]].params for option in param.opts}
        for word in words[1:]:
            if word.startswith("--"):
                assert word.split("=")[0] in options, f"`mattingmfif {words[0]}` has no {word}"


def test_every_published_recipe_stands_in_the_readme() -> None:
    from mattingmfif.dataset.recipe import published_recipes

    for name in published_recipes():
        assert f"`{name}`" in README


def test_the_reasons_of_the_readme_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", README, re.M))
    assert {key: rows.get(key) for key in REASONS} == REASONS


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        if "shards" not in block:  # reading is shown by an example that a test runs
            exec(compile(block, "README.md", "exec"), {})


def test_links_to_files_of_the_project_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_version_is_one_word() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", mattingmfif.__version__)


def test_no_path_of_a_machine_stands_in_the_documents() -> None:
    for name in ("README.md", "DATASET_CARD.md"):
        assert not re.search(r"/(home|root|tmp|work)/", (ROOT / name).read_text(encoding="utf-8")), name
