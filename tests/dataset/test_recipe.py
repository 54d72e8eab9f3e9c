"""Recipes are read strictly, resolved, hashed and written back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattingmfif.dataset.recipe import load_recipe, nearest_key, parse_recipe, published_recipes
from mattingmfif.errors import UserError

HEAD = 'schema = 1\nname = "mine"\n'


@pytest.mark.parametrize("name", ["quick", "mattingmfif-4k", "vaeedof-train"])
def test_published_recipes_are_sound_and_named_after_their_files(name: str) -> None:
    assert name in published_recipes()
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", ["quick", "mattingmfif-4k", "vaeedof-train"])
def test_a_resolved_recipe_reads_back_to_the_same_recipe_and_hash(name: str) -> None:
    recipe = load_recipe(name)
    again = parse_recipe(recipe.to_toml(), "resolved")
    assert again == recipe
    assert again.recipe_hash == recipe.recipe_hash


def test_writing_a_default_out_does_not_change_the_hash_but_another_value_does() -> None:
    plain = parse_recipe(HEAD, "a")
    assert parse_recipe(HEAD + "[output]\nlong_side_px = 3840\n", "b").recipe_hash == plain.recipe_hash
    assert parse_recipe(HEAD + "[output]\nlong_side_px = 3000\n", "b").recipe_hash != plain.recipe_hash


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[lens]\nfocal_length = 50", r"lens\.focal_length: no such key; did you mean lens\.focal_length_mm\?"),
        ("[lens]\nfnumber = 2", r"did you mean lens\.f_number\?"),
        ("[lense]\nf_number = 2", r"lense: no such key; did you mean lens\?"),
        ("[lens]\nf_number = 0", r"lens\.f_number: 0 is not allowed; it must be a number above 0"),
        ('[lens]\nf_number = "wide"', r"lens\.f_number: 'wide' is not allowed; it must be a number"),
        ("[lens]\nfocal_length_mm = {uniform = [50]}", r"lens\.focal_length_mm: uniform takes two numbers"),
        (
            "[focus]\nframes_max = 8",
            r"focus\.frames_max: 8 is not allowed; it must be a number at least 2 and at most 7",
        ),
        ("[focus]\nframes_min = 2.5", r"focus\.frames_min: 2\.5 must be a whole number"),
        ('[focus]\nplan = "closer"', r"focus\.plan: 'closer' is not allowed; allowed: tile, layers, random, gap"),
        (
            "[distances]\nnearest_m = 0.05",
            r"distances\.nearest_m: 0\.05 is too near to focus on .* twice the focal length",
        ),
        ("[distances]\nnearest_m = 20", r"distances\.farthest_m: 10 is not beyond distances\.nearest_m"),
        ("[output]\nbits = 12", r"output\.bits: 12 is not allowed; allowed: 8, 16"),
        ("[output]\nbits = true", r"output\.bits: True must be a whole number"),
        ("[splits]\ntrain = 0.9", r"splits\.train: 0\.9 .* not 1"),
        ("[gate]\nmax_soft_share = 2", r"gate\.max_soft_share: 2.0 "),
        ("output = 3", r"output: 3 must be a table \[output\]"),
        ("lens = {", "not a TOML file"),
    ],
)
def test_a_fault_is_one_line_that_names_key_value_and_what_is_allowed(text: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        parse_recipe(HEAD + text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


def test_the_schema_comes_first_and_must_be_known() -> None:
    with pytest.raises(UserError, match="schema: must be the first key"):
        parse_recipe('name = "mine"\nschema = 1\n', "r")
    with pytest.raises(UserError, match="schema: 2 is not known; allowed: 1"):
        parse_recipe('schema = 2\nname = "mine"\n', "r")
    with pytest.raises(UserError, match="name: missing"):
        parse_recipe("schema = 1\n", "r")
    with pytest.raises(UserError, match="name: 'My Recipe' may hold"):
        parse_recipe('schema = 1\nname = "My Recipe"\n', "r")


def test_an_unknown_recipe_names_the_nearest_published_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean quick"):
        load_recipe("quik")
    path = tmp_path / "own.toml"
    path.write_text(HEAD)
    assert load_recipe(str(path)).name == "mine"


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a recipe"):
        load_recipe(str(path))


def test_overrides_of_the_command_line_are_checked_like_the_file() -> None:
    recipe = parse_recipe(HEAD, "r")
    assert recipe.replaced({"depth.kind": "disparity"}).depth.kind == "disparity"
    with pytest.raises(UserError, match=r"the command line: depth\.near_m: .*below depth\.far_m"):
        recipe.replaced({"depth.near_m": 50.0})


def test_the_nearest_key_is_the_one_with_the_unit() -> None:
    assert nearest_key("focal_length", ["f_number", "focal_length_mm"]) == "focal_length_mm"
