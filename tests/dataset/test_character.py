"""Lens faults, sensor and highlights of a recipe: drawn, in the pixels, recorded; and off where a recipe is silent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.alignment import alignment
from mattingmfif.dataset.make import codes_of, sensor_options
from mattingmfif.dataset.reader import Sample, open_shards
from mattingmfif.dataset.recipe import load_recipe, parse_recipe
from mattingmfif.optics import Sensor
from mattingmfif.pixels.colour import decode_srgb
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.sensor import draw_sensor

EVERYTHING = """
axial_colour_dioptres = {uniform = [0.02, 0.05]}
field_curvature_dioptres = {uniform = [0.05, 0.1]}
breathing = 1.0
diffraction = true
[aperture]
cats_eye = 0.5
spherical = {uniform = [-0.5, 0.5]}
[sensor]
exposure_ev = {uniform = [0.2, 0.4]}
vignetting_ev = 0.5
iso = {log_uniform = [400, 800]}
bake_noise = true
[highlights]
most = {uniform = [2.0, 3.0]}
threshold = 0.8
"""


@pytest.mark.parametrize(
    ("name", "published_hash"),
    [
        ("quick", "b22e33747b528585de3e419c01a7c8279e799c47a842e53c7bb9bb4c329e2fab"),
        ("mattingmfif-4k", "b7996cb17d5aebcc7a51a811129b4b6282de348e217c0f256769d958dcde2e17"),
    ],
)
def test_a_published_recipe_keeps_the_hash_it_was_published_with(name: str, published_hash: str) -> None:
    """Golden: recorded before the first keys were added to the tables after publication."""
    recipe = load_recipe(name)
    assert recipe.recipe_hash == published_hash
    assert recipe.lens.breathing.possible == (0.0,)
    assert "[sensor]" in recipe.to_toml()  # though `recipes show` writes the later keys out as well


def test_a_later_key_changes_the_hash_as_soon_as_it_is_used() -> None:
    head = 'schema = 1\nname = "mine"\n'
    plain = parse_recipe(head, "a")
    assert parse_recipe(head + "[sensor]\niso = 0.0\n", "b").recipe_hash == plain.recipe_hash
    for text in ("[sensor]\niso = 100", "[lens]\nbreathing = 0.5", "[highlights]\nmost = 2"):
        used = parse_recipe(head + text, "b")
        assert used.recipe_hash != plain.recipe_hash
        assert parse_recipe(used.to_toml(), "again") == used


@pytest.fixture(scope="module")
def everything_on(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("everything")
    recipe = folder / "everything.toml"
    text = (
        tiny_recipe.read_text()
        .replace('name = "tiny"', 'name = "everything"')
        .replace("frames_max = 3", "frames_max = 2")
    )
    lens = "largest_blur_radius_share = 0.02\n"
    recipe.write_text(text.replace(lens, lens + EVERYTHING))
    out = folder / "out"
    done = mattingmfif("build", "--src", small_photos, "--out", out, "--recipe", recipe, "--limit", 1)
    assert done.returncode == 0, done.stderr
    done = mattingmfif("verify", out, "--rerender", 1, "--src", small_photos)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_everything_that_is_drawn_is_recorded(everything_on: Path) -> None:
    camera = open_shards(everything_on)[0].camera
    assert not camera.is_ideal
    low, middle, high = camera.lens_options["axial_colour_dioptres"]
    assert (low, middle) == (-high, 0.0)
    assert 0.02 <= high <= 0.05
    assert 0.05 <= camera.lens_options["field_curvature_dioptres"] <= 0.1
    assert camera.lens_options["breathing"] == 1.0
    assert camera.lens_options["diffraction"] is True
    assert set(camera.sensor) == {"exposure_ev", "vignetting_ev", "iso", "full_well_electrons", "read_noise_electrons"}
    assert 2.0 <= camera.draws["highlights"]["most"] <= 3.0
    assert "noise_at_load" not in camera.draws


def test_the_recorded_alignment_lays_a_breathing_frame_over_the_target(everything_on: Path) -> None:
    sample: Sample = open_shards(everything_on)[0]
    height, width = sample.size
    magnification = sample.camera.draws["magnification"]
    assert magnification[-1] == 1.0
    assert magnification[0] > 1.003
    matrix = np.array(sample.camera.draws["target_to_frame"][0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpAffine(sample.frames[0], matrix, (width, height), flags=flags)
    target = cv2.GaussianBlur(sample.target, (0, 0), 2.0).astype(float)
    errors = []
    for frame in (sample.frames[0], aligned):
        soft = cv2.GaussianBlur(frame, (0, 0), 2.0).astype(float)
        errors.append(np.abs(soft - target)[20:-20, 20:-20].mean())
    assert errors[1] < 0.8 * errors[0]


def test_the_alignment_turns_a_magnified_grid_back() -> None:
    matrix = np.array(alignment([1.25], (9, 17))["target_to_frame"][0])
    middle, corner = matrix @ (8.0, 4.0, 1.0), matrix @ (0.0, 0.0, 1.0)
    np.testing.assert_allclose(middle, (8.0, 4.0))
    np.testing.assert_allclose(corner, (8.0 - 1.25 * 8.0, 4.0 - 1.25 * 4.0))
    assert alignment([1.0, 1.0], (9, 17)) == {}


def test_noise_of_a_recipe_that_bakes_it_follows_its_law_and_spares_the_target() -> None:
    light = np.full((200, 200, 3), 0.18, np.float32)
    sensor = Sensor(iso=1600.0, exposure_ev=1.0, bits=16)
    codes = codes_of(light, sensor, np.random.default_rng(3))
    seen = decode_srgb(codes)
    assert seen.mean() == pytest.approx(0.36, rel=2e-3)
    assert seen.std() == pytest.approx(float(sensor.noise_sigma(0.36)), rel=0.02)
    assert len(np.unique(codes_of(light, Sensor(exposure_ev=1.0, bits=16), None))) == 1


def test_noise_that_is_not_baked_is_only_recorded() -> None:
    noted = 'schema = 1\nname = "noted"\n[sensor]\nvignetting_ev = 1.0\niso = {uniform = [400, 800]}\n'
    for text, baked in ((noted, False), (noted + "bake_noise = true\n", True)):
        settings = parse_recipe(text, "noted.toml").shot_settings
        sensor, recorded = draw_sensor(settings, partial(stage_rng, 5, "sample"))
        pixels = sensor_options(sensor)  # what the pixels went through
        assert pixels["vignetting_ev"] == 1.0
        assert ("iso" in pixels) is baked
        assert ("noise_at_load" in recorded) is not baked
        noise = pixels if baked else recorded["noise_at_load"]
        assert 400 <= noise["iso"] <= 800
        assert noise["full_well_electrons"] == 25000.0
        assert draw_sensor(settings, partial(stage_rng, 5, "sample")) == (sensor, recorded)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[lens]\nbreathing = 2", r"lens\.breathing: 2 is not allowed"),
        ("[lens]\naxial_colour = 0.1", r"did you mean lens\.axial_colour_dioptres\?"),
        ("[sensor]\niso = -1", r"sensor\.iso: -1 is not allowed; it must be a number at least 0"),
        ("[sensor]\nvignetting = 1", r"did you mean sensor\.vignetting_ev\?"),
        ("[highlights]\nmost = 0.5", r"highlights\.most: 0\.5 is not allowed; it must be a number at least 1"),
        ("[highlights]\nthreshold = 1", r"highlights\.threshold: 1\.0 is not allowed"),
    ],
)
def test_faults_that_cannot_be_are_refused_by_key(text: str, line: str) -> None:
    from mattingmfif.errors import UserError

    with pytest.raises(UserError, match=line):
        parse_recipe(f'schema = 1\nname = "mine"\n{text}\n', "mine.toml")
