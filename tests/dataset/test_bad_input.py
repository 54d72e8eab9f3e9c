"""Photographs and mattes that cannot be used: a documented reason each, never a crash, never NaN."""

from __future__ import annotations

import io
import os
import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from mattingmfif.dataset.engines import open_workers
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import Scanned, ScanTask, examine
from mattingmfif.dataset.planning import Request, make_plan, photos_and_inputs
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import REASONS, Refused, UserError
from mattingmfif.matting.layers import estimate_layers
from mattingmfif.matting.sidecars import read_user_input

HEIGHT, WIDTH = 200, 256


@pytest.fixture
def photo(small_photos):
    """A small photograph, BGR codes."""
    return cv2.resize(cv2.imread(str(small_photos / "astronaut.png")), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def disc(centre=(128, 100), radius=50):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, centre, radius, 255, -1)
    return mask


@pytest.fixture
def scanned(tmp_path, tiny_recipe):
    """`scanned(photo, {kind: matte}, **recipe keys)` is what the scan says of it, with what it looked at."""

    def look(photo, mattes=None, **keys):
        cv2.imwrite(str(tmp_path / "p.png"), photo)
        for kind, matte in (mattes or {}).items():
            cv2.imwrite(str(tmp_path / f"p.{kind}.png"), matte)
        overrides = {"matting.segmenter": "classical", **{k.replace("__", "."): v for k, v in keys.items()}}
        recipe = load_recipe(str(tiny_recipe)).replaced(overrides)
        task = ScanTask(path="p.png", recipe=recipe, inputs=Inputs(src=tmp_path), licence=None, default_licence=None)
        return (*examine(task), recipe)

    return look


def frame_at_the_borders():
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[60:140, 70:190] = 0
    return mask


@pytest.mark.parametrize("kind", ["alpha", "mask"])
@pytest.mark.parametrize(
    ("matte", "reason"),
    [
        (np.zeros((HEIGHT, WIDTH), np.uint8), "empty-matte"),
        (np.full((HEIGHT, WIDTH), 255, np.uint8), "full-matte"),
        (255 - disc(radius=30), "inverted-matte"),
        (frame_at_the_borders(), "inverted-matte"),
        (np.dstack([disc(), disc() // 2, disc() * 0]), "colour-matte"),
        (disc()[:150], "matte-size"),
    ],
    ids=["all-0", "all-1", "inverted", "around", "colour", "another-size"],
)
def test_a_matte_that_cannot_be_meant_is_refused_with_its_reason(scanned, photo, kind, matte, reason):
    verdict, *_ = scanned(photo, {kind: matte})
    assert verdict.reason == reason, verdict
    assert verdict.detail
    assert reason in REASONS


def test_a_subject_that_touches_all_borders_is_refused(scanned, photo):
    cross = np.zeros((HEIGHT, WIDTH), np.uint8)
    cross[:, 50:200] = cross[40:170] = 255
    cross[90:110, 110:140] = 0
    verdict, *_ = scanned(photo, {"mask": cross})
    assert verdict.reason in ("touches-all-borders", "inverted-matte"), verdict


def test_a_photo_without_a_subject_is_kept_as_a_ground_or_refused_as_the_recipe_says(scanned):
    rng = np.random.default_rng(0)
    gravel = cv2.blur(rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8), (2, 2))
    verdict, *_ = scanned(gravel)
    assert isinstance(verdict, Scanned)
    assert verdict.subjects == 0
    assert verdict.why_no_subject.startswith("no-subject: ")
    verdict, *_ = scanned(gravel, scene__without_subject="refuse")
    assert verdict.reason == "no-usable-subject"


def test_several_equal_subjects_become_layers_of_their_own(scanned, photo):
    for x in (50, 128, 206):
        mask = disc((x, 100), 28)
        photo[mask > 0] = (30, 60, 200)
    mattes = {f"mask.{number}": disc((x, 100), 28) for number, x in enumerate((50, 128, 206), start=1)}
    # painted discs have no texture to be in focus
    verdict, prepared, subjects, recipe = scanned(photo, mattes, gate__max_soft_part_share=1.0)
    assert isinstance(verdict, Scanned), verdict
    assert verdict.subjects == 3
    layers = estimate_layers(prepared.linear, subjects, recipe.matting)
    assert [np.argmax(cutout.alpha.sum(axis=0)) // 86 for cutout in layers.cutouts] == [0, 1, 2]
    assert np.isfinite(layers.reassembled()).all()


def test_no_more_subjects_are_cut_out_than_a_scene_has(scanned, photo):
    mattes = {f"mask.{number}": disc((x, 100), 28) for number, x in enumerate((50, 128, 206), start=1)}
    verdict, prepared, subjects, recipe = scanned(photo, mattes, scene__subjects_max=1, scene__composite_subjects=1)
    assert verdict.subjects == 1
    layers = prepared.layers(subjects, recipe)
    for x in (128, 206):  # those left in the plate stay photographed
        part = (slice(80, 120), slice(x - 15, x + 15))
        np.testing.assert_array_equal(layers.plate_linear[part], prepared.linear[part])


@pytest.mark.parametrize("kind", ["alpha", "mask"])
def test_subjects_that_lie_in_the_same_place_are_layers_or_a_reason(scanned, photo, kind):
    """The last of them keeps no pixel of its own, where OpenCV used to crash on an array without any."""
    verdict, prepared, subjects, recipe = scanned(photo, {f"{kind}.{number}": disc() for number in (1, 2, 3)})
    assert isinstance(verdict, Scanned), verdict
    reason = ""
    try:
        assert np.isfinite(prepared.layers(subjects, recipe).reassembled()).all()
    except Refused as refused:
        reason = refused.reason
    assert reason in ("", "empty-matte", "uncertain-matte")


def test_fifty_boxes_are_as_many_subjects_as_the_recipe_allows(tmp_path, tiny_recipe, photo):
    cv2.imwrite(str(tmp_path / "p.png"), photo)
    (tmp_path / "p.box.txt").write_text("60 40 200 170\n" * 50)
    recipe = load_recipe(str(tiny_recipe)).replaced({"matting.segmenter": "classical"})
    task = ScanTask(path="p.png", recipe=recipe, inputs=Inputs(src=tmp_path), licence=None, default_licence=None)
    verdict = examine(task)[0]
    assert verdict.subjects == recipe.matting.max_subjects


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("alpha.png", b"", "matte-unreadable"),
        ("alpha.png", b"hello", "matte-unreadable"),
        ("mask.png", cv2.imencode(".png", disc())[1].tobytes()[:-200], "matte-unreadable"),
        ("alpha.tif", cv2.imencode(".tif", disc().astype(np.float32))[1].tobytes(), "matte-unreadable"),
        ("scribbles.png", cv2.imencode(".png", np.full((HEIGHT, WIDTH), 255, np.uint8))[1].tobytes(), "full-matte"),
        ("scribbles.png", cv2.imencode(".png", np.full((HEIGHT, WIDTH), 128, np.uint8))[1].tobytes(), "empty-matte"),
        ("trimap.png", cv2.imencode(".png", np.full((HEIGHT, WIDTH), 128, np.uint8))[1].tobytes(), "empty-matte"),
        ("alpha.png", cv2.imencode(".png", disc() // 255)[1].tobytes(), "empty-matte"),  # 0 and 1 of 255
        ("box.txt", b"", "box-invalid"),
        ("box.txt", b"nan 0 10 10", "box-invalid"),
        ("box.txt", b"0 0 257 200", "box-invalid"),
        ("box.txt", b"50 50 40 60", "box-invalid"),
        ("box.txt", b"0 0 256 200", "full-matte"),
        ("box.txt", b"\xff\xfe\x00", "box-invalid"),
    ],
)
def test_a_file_beside_the_photo_that_says_nothing_usable_is_refused(
    tmp_path, tiny_recipe, photo, kind, content, reason, recwarn
):
    cv2.imwrite(str(tmp_path / "p.png"), photo)
    (tmp_path / f"p.{kind}").write_bytes(content)
    recipe = load_recipe(str(tiny_recipe)).replaced({"matting.segmenter": "classical"})
    task = ScanTask(path="p.png", recipe=recipe, inputs=Inputs(src=tmp_path), licence=None, default_licence=None)
    verdict = examine(task)[0]
    assert verdict.reason == reason, verdict
    assert "/" not in verdict.detail.replace(reason, "")  # neither a path of this machine nor a library's source
    assert not recwarn.list


def as_png(image, **options):
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


def palette_of(mask, colours):
    picture = Image.fromarray((mask > 0).astype(np.uint8), "P")
    picture.putpalette([*colours, *[0] * (768 - len(colours))])
    return picture


def plain(code):
    return Image.new("L", (WIDTH, HEIGHT), code)


MATTES = {
    "1 bit": as_png(Image.fromarray(disc()).convert("1")),
    "2 bits": as_png(Image.fromarray(disc() // 255 * 3), bits=2),
    "a grey palette": as_png(palette_of(disc(), [0, 0, 0, 255, 255, 255])),
    "16 bits": cv2.imencode(".png", disc().astype(np.uint16) * 257)[1].tobytes(),
    "grey with an opaque alpha": as_png(Image.merge("LA", [Image.fromarray(disc()), plain(255)])),
    "white with an alpha": as_png(Image.merge("LA", [plain(255), Image.fromarray(disc())])),
    "a cut-out in colours": as_png(Image.merge("RGBA", [plain(9), plain(99), plain(200), Image.fromarray(disc())])),
}


@pytest.mark.parametrize("form", MATTES)
def test_a_matte_means_the_same_in_every_form_of_png(tmp_path, form):
    (tmp_path / "p.alpha.png").write_bytes(MATTES[form])
    (alpha,) = read_user_input(tmp_path, "p.jpg", (HEIGHT, WIDTH)).alphas
    np.testing.assert_array_equal(alpha, disc() / np.float32(255))


def test_a_photo_smaller_than_the_scale_of_the_solve_is_taken_apart_at_its_own_size(scanned, photo):
    verdict, prepared, subjects, recipe = scanned(photo, {"mask": disc()}, matting__solve_long_side_px=2048)
    assert verdict.subjects == 1
    layers = estimate_layers(prepared.linear, subjects, recipe.matting)
    assert layers.plate_linear.shape == (HEIGHT, WIDTH, 3)
    assert np.isfinite(layers.plate_linear).all()
    assert np.isfinite(layers.cutouts[0].alpha).all()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((100, 2000), "too-narrow"), ((2000, 100), "too-narrow"), ((400, 1), "too-narrow"), ((1, 1), "too-small")],
    ids=["panorama", "tower", "one-pixel-wide", "one-pixel"],
)
def test_pictures_of_impossible_shapes_are_refused(scanned, shape, reason):
    verdict, *_ = scanned(np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8))
    assert verdict.reason == reason, verdict


@pytest.mark.parametrize("shape", [(24, 480), (480, 24), (300, 1), (1, 300), (2, 2), (1, 1)])
def test_matting_itself_gives_finite_layers_or_a_reason_for_any_shape(shape):
    from mattingmfif.matting import MattingSettings, UserInput, find_subjects
    from mattingmfif.pixels.colour import linear_to_srgb

    linear = np.random.default_rng(0).random((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    alpha[shape[0] // 3 : shape[0] // 3 + max(1, shape[0] // 4), shape[1] // 3 : 2 * shape[1] // 3 + 1] = 1
    reasons = []
    for user in (UserInput(alphas=(alpha,)), UserInput(masks=(alpha > 0.5,)), None):
        try:
            found = find_subjects(linear_to_srgb(linear), MattingSettings(segmenter="classical"), user)
            layers = estimate_layers(linear, found)
        except Refused as refused:
            reasons.append(refused.detail)
            continue
        assert np.isfinite(layers.reassembled()).all()
        for cutout in layers.cutouts:
            assert np.isfinite(cutout.colour_linear).all()
            assert np.isfinite(list(cutout.scores.values())).all()
    assert all(reasons)


def test_a_name_that_is_no_text_is_refused_and_costs_no_other_photograph(tmp_path, small_photos, tiny_recipe):
    content = (small_photos / "coffee.png").read_bytes()
    for name in (b"bad\xff.png", b"good.png"):
        try:
            (tmp_path / os.fsdecode(name)).write_bytes(content)
        except OSError:
            pytest.skip("this file system holds only names of UTF-8")
    recipe = load_recipe(str(tiny_recipe)).replaced({"matting.segmenter": "classical"})
    with open_workers(Engine(jobs=1)) as workers:
        request = Request(src=tmp_path, out=tmp_path / "out", recipe=recipe)
        plan, _ = make_plan(request, workers, lambda step: None)
    assert [source.path for source in plan.sources] == ["good.png"]
    assert [(reject.path, reject.reason) for reject in plan.rejects] == [("bad\\udcff.png", "bad-name")]
    assert plan.to_json().encode()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cofee.alpha.png", "photograph cofee, and none lies beside it"),
        ("coffee.depth.tif", "not used"),
        ("coffee.mask.gif", None),
        ("coffee.depth.pfm", "not used: there is another depth"),
        ("coffee.alpha.final.png", "not used"),
    ],
)
def test_a_file_beside_the_photographs_that_nobody_reads_is_named(tmp_path, small_photos, tiny_recipe, name, says):
    shutil.copy(small_photos / "coffee.png", tmp_path / "coffee.png")
    for sidecar in ("coffee.depth.NPY", "coffee.mask.png", name):
        (tmp_path / sidecar).write_bytes(b"something")
    request = Request(src=tmp_path, out=tmp_path / "out", recipe=load_recipe(str(tiny_recipe)))
    if says is None:  # of an ending that is none of an input
        assert photos_and_inputs(request)[0] == ["coffee.png"]
        return
    with pytest.raises(UserError, match=f"{re.escape(name)}: .*{says}"):
        photos_and_inputs(request)
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / "coffee.alpha.png").write_bytes(b"x")
    (aside / "coffee.npy").write_bytes(b"x")
    # where folders are given, what lies beside the photographs is none of this build's
    assert photos_and_inputs(replace(request, mattes=aside, depth=aside))[0] == ["coffee.png"]


def test_hidden_files_among_the_inputs_are_no_strays(tmp_path, small_photos, tiny_recipe):
    shutil.copy(small_photos / "coffee.png", tmp_path / "coffee.png")
    aside = tmp_path / "aside"
    (aside / ".cache").mkdir(parents=True)
    for place in ("._coffee.alpha.png", ".mask.png", "aside/._coffee.png", "aside/.cache/small.png"):
        (tmp_path / place).write_bytes(b"x")
    request = Request(src=tmp_path, out=tmp_path / "out", recipe=load_recipe(str(tiny_recipe)))
    assert photos_and_inputs(request)[0] == ["coffee.png"]
    assert photos_and_inputs(replace(request, mattes=aside))[0] == ["coffee.png"]


def test_a_picture_without_structure_is_refused_however_bright(scanned):
    ramp = np.repeat(np.linspace(30, 220, WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2)
    for picture in (np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH, 3), 255, np.uint8), ramp):
        verdict, *_ = scanned(picture)
        assert verdict.reason == "featureless", verdict
