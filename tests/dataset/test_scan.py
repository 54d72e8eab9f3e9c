"""The scan page shows what the gates decide, by how much, and what it looks like."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.engines import open_workers
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import ScanTask
from mattingmfif.dataset.judge import JudgeTask, judge
from mattingmfif.dataset.planning import Request
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.scan_page import lines, scan_photos, write_page
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import UserError

NASTY = "<b onclick=x>&\"'.png"


@pytest.fixture(scope="module")
def photos(small_photos, tmp_path_factory):
    """One to keep with a name that is markup, one that is soft, one that is no picture, one that a person refuses."""
    folder = tmp_path_factory.mktemp("scanned")
    shutil.copy(small_photos / "coffee.png", folder / NASTY)
    cv2.imwrite(str(folder / "soft.png"), cv2.GaussianBlur(cv2.imread(str(small_photos / "astronaut.png")), (0, 0), 3))
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    shutil.copy(small_photos / "camera.png", folder / "logo.png")
    (folder / "overrides.csv").write_text("path,verdict,note\nlogo.png,refuse,a <logo>\n")
    return folder


@pytest.fixture(scope="module")
def judgements(photos, tiny_recipe):
    request = Request(
        src=photos,
        out=photos / "page",
        recipe=load_recipe(str(tiny_recipe)).replaced({"matting.segmenter": "classical"}),
    )
    with open_workers(Engine(jobs=1)) as workers:
        return scan_photos(request, workers, lambda step: None, layers=True)


def test_verdicts_are_those_of_the_build_and_the_closest_to_a_threshold_come_first(judgements):
    by_path = {item.path: item for item in judgements}
    assert {path: (item.kept, item.reason) for path, item in by_path.items()} == {
        NASTY: (True, ""),
        "soft.png": (False, "soft"),
        "torn.jpg": (False, by_path["torn.jpg"].reason),
        "logo.png": (False, "overruled"),
    }
    closeness = [item.closeness for item in judgements]
    assert closeness == sorted(closeness)
    assert judgements[-1].path == "torn.jpg"  # nothing is measured of it
    assert judgements[-1].pictures == ()
    soft = next(score for score in by_path["soft.png"].scores if score.name == "soft share")
    assert not soft.passed
    assert soft.value > soft.threshold == 0.16


def test_every_step_has_its_picture_also_of_those_that_a_gate_stops(judgements):
    for name in (NASTY, "logo.png"):
        captions = [picture.caption for item in judgements if item.path == name for picture in item.pictures]
        for word in ("photo,", "cut-outs", "plate", "trimap", "alpha", "pulled apart", "frame focused at", "target"):
            assert any(word in caption for caption in captions), (name, word, captions)
        assert sum("frame focused" in caption for caption in captions) >= 2
    for item in judgements:
        for picture in item.pictures:
            decoded = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert decoded.shape[2] == 3


def test_what_is_soft_is_red_in_a_picture_of_its_own(judgements):
    shares = {}
    for item in judgements:
        for picture in item.pictures:
            if picture.caption.startswith("red: edges wider than 1.5 px"):
                codes = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
                red = (codes[..., 2] > 130) & (codes[..., 2] > codes[..., :2].max(axis=-1) + 40)
                shares[item.path] = red.mean()
    assert shares["soft.png"] > 0.7
    assert min(shares.values()) < 0.2


def test_the_page_opens_without_a_network_and_escapes_what_comes_from_data(judgements, tmp_path):
    page = write_page(judgements, tmp_path / "page")
    text = page.read_text(encoding="utf-8")
    assert "<b onclick" not in text
    assert "&lt;b onclick=x&gt;&amp;" in text
    assert "a &lt;logo&gt;" in text
    assert "http" not in text
    assert "<script" not in text
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', text))
    assert len(linked) == sum(len(item.pictures) for item in judgements) > 20
    for name in linked:
        assert (tmp_path / "page" / name).is_file()
    assert text.index("soft.png") < text.index("torn.jpg")
    assert "soft.png,keep," in text  # the line that overrules it
    assert "class=failed><td>soft share" in text
    write_page(judgements[:1], tmp_path / "page")  # the same folder again
    assert len(list((tmp_path / "page" / "pictures").iterdir())) == len(judgements[0].pictures)


def test_a_name_that_is_no_text_is_shown_too(judgements, tmp_path):
    judgement = next(item for item in judgements if item.path == "torn.jpg")
    named = replace(judgement, path="bad\udcff.jpg", reason="bad-name")
    page = write_page([named], tmp_path / "page").read_text()
    assert "bad .jpg" in page
    assert "bad .jpg,keep" not in page  # overrides.csv is UTF-8: no line in it can name the file


def test_a_folder_that_holds_something_else_is_left_alone(judgements, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis.tex'"):
        write_page(judgements, tmp_path)
    with pytest.raises(UserError, match="is a file"):
        write_page(judgements, tmp_path / "thesis.tex")


def test_the_lines_say_verdict_name_reason_and_the_nearest_score(judgements):
    text = list(lines(judgements))
    assert len(text) == len(judgements)
    assert any(line.startswith("refused soft.png: soft: ") and "nearest to a threshold" in line for line in text)
    assert any(line.startswith("refused (overrides.csv: refuse) logo.png: overruled: a <logo>") for line in text)


def test_the_command_writes_the_page(photos, tiny_recipe, tmp_path, mattingmfif):
    words = ("--recipe", tiny_recipe, "--segmenter", "classical", "--out", tmp_path / "page", "--limit", 1)
    done = mattingmfif("scan", photos, *words)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert (tmp_path / "page" / "index.html").is_file()
    assert mattingmfif("scan", tmp_path / "none").returncode == 2


def test_a_depth_map_is_shown_near_bright_and_unknown_grey(small_photos, tiny_recipe, tmp_path):
    shutil.copy(small_photos / "coffee.png", tmp_path / "a.png")
    height, width = cv2.imread(str(tmp_path / "a.png")).shape[:2]
    distance_m = np.full((height, width), 4.0, np.float32)
    distance_m[:, : width // 3] = 1.5
    distance_m[:, -width // 3 :] = np.nan
    np.save(tmp_path / "a.depth.npy", distance_m)
    task = ScanTask(
        path="a.png",
        recipe=load_recipe(str(tiny_recipe)).replaced({"matting.segmenter": "classical"}),
        inputs=Inputs(src=tmp_path),
        licence=None,
        default_licence=None,
    )
    found = judge(JudgeTask(scan=task))
    (picture,) = (item for item in found.pictures if item.caption.startswith("depth"))
    assert "1.5 to 4 m" in picture.caption
    assert re.search(r"3[234]\.\d% unknown", picture.caption)
    codes = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    near, far, unknown = (codes[:, int(x * codes.shape[1])].mean(axis=0) for x in (0.15, 0.5, 0.85))
    assert near.sum() > far.sum() + 100
    assert np.abs(unknown - 128).max() < 6


def test_a_given_matte_that_cannot_become_layers_is_no_ground_but_refused(small_photos, tiny_recipe, tmp_path):
    shutil.copy(small_photos / "coffee.png", tmp_path / "cup.png")
    height, width = cv2.imread(str(tmp_path / "cup.png")).shape[:2]
    trimap = np.full((height, width), 128, np.uint8)
    trimap[height // 3 : height // 2, width // 3 : width // 2] = 255  # and nothing is background
    cv2.imwrite(str(tmp_path / "cup.trimap.png"), trimap)
    recipe = load_recipe(str(tiny_recipe)).replaced({"gate.max_soft_part_share": 1.0})  # coffee is smooth
    task = ScanTask(path="cup.png", recipe=recipe, inputs=Inputs(src=tmp_path), licence=None, default_licence=None)
    judgement = judge(JudgeTask(scan=task))
    assert (judgement.kept, judgement.reason) == (False, "full-matte")
    assert "ground" not in judgement.detail
