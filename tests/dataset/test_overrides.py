"""What a person decides in overrides.csv counts, and belongs to the plan."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.check import check_folder
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import ScanTask, scan_photo
from mattingmfif.dataset.plan import read_plan
from mattingmfif.dataset.planning import Request
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.run import build
from mattingmfif.errors import UserError
from mattingmfif.photo.overrides import Override, read_overrides


@pytest.fixture
def photos(small_photos, tmp_path):
    """A sharp photograph, and one that the gate refuses as soft."""
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = cv2.imread(str(small_photos / "coffee.png"))
    cv2.imwrite(str(folder / "sharp.png"), picture)
    cv2.imwrite(str(folder / "soft.png"), cv2.GaussianBlur(cv2.imread(str(small_photos / "astronaut.png")), (0, 0), 3))
    return folder


def write(folder, *lines):
    (folder / "overrides.csv").write_text("\n".join(["path,verdict,note", *lines]) + "\n", encoding="utf-8")


def test_a_person_keeps_what_the_gate_refuses_and_refuses_what_it_keeps(photos, tiny_recipe, tmp_path):
    write(photos, 'soft.png,keep,"a test, on purpose"', "sharp.png,refuse,the cup is a logo")
    out = tmp_path / "out"
    request = Request(src=photos, out=out, recipe=load_recipe(str(tiny_recipe)))
    assert build(request, lambda step: None).samples == 1
    plan = read_plan(out)
    assert [(source.path, source.overruled) for source in plan.sources] == [("soft.png", True)]
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [(row["path"], row["reason"], row["detail"]) for row in rejects] == [
        ("sharp.png", "overruled", "the cup is a logo")
    ]
    assert check_folder(out, rerender=1, src=photos).ok
    write(photos, "soft.png,keep,", "sharp.png,keep,")
    with pytest.raises(UserError, match=r"another plan \(file overrides.csv: its content changed\)") as caught:
        build(request, lambda step: None)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_columns_come_in_any_order_and_notes_are_optional(tmp_path):
    (tmp_path / "overrides.csv").write_text("verdict,path\nKEEP, a/b.jpg \nrefuse,c.png\n")
    assert read_overrides(tmp_path) == {"a/b.jpg": Override(verdict="keep"), "c.png": Override(verdict="refuse")}
    assert read_overrides(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,note\na.jpg,x\n", "must name the columns path, verdict"),
        ("path,verdict\na.jpg,maybe\n", "line 2: verdict 'maybe' is unknown; allowed: keep, refuse"),
        ("path,verdict\na.jpg,keep\na.jpg,refuse\n", "line 3: a.jpg has a second verdict"),
        ("path,verdict,note\na.jpg,keep,one,two\n", "line 2: 3 columns expected"),
        ("path,verdict\na.jpg\n", "line 2: 2 columns expected"),
        ("", "has nothing"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(tmp_path, text, says):
    (tmp_path / "overrides.csv").write_text(text)
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        read_overrides(tmp_path)


def test_a_misspelt_path_is_no_wish(photos, tiny_recipe, tmp_path, mattingmfif):
    write(photos, "sharpe.png,keep,")
    done = mattingmfif("plan", "--src", photos, "--out", tmp_path / "out", "--recipe", tiny_recipe)
    assert done.returncode == 2
    assert "'sharpe.png' is none of the photographs" in done.stderr


def test_a_file_of_other_bytes_is_named(tmp_path):
    (tmp_path / "overrides.csv").write_bytes(b"path,verdict\n\xff\xfe,keep\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_overrides(tmp_path)


def test_a_photo_whose_subject_alone_is_out_of_focus_is_refused(sample_photos, tmp_path):
    """The whole is sharp enough, the part that becomes a layer is not."""
    picture = cv2.imread(str(sample_photos / "astronaut.png"))
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, (300, 400), 60, 255, -1)
    part = cv2.GaussianBlur(picture, (0, 0), 4)
    cv2.imwrite(str(tmp_path / "stone.png"), np.where(mask[..., None] > 0, part, picture))
    cv2.imwrite(str(tmp_path / "stone.mask.png"), mask)
    recipe = load_recipe("quick")
    task = ScanTask(path="stone.png", recipe=recipe, inputs=Inputs(src=tmp_path), licence=None, default_licence=None)
    found = scan_photo(task)
    assert found.reason == "soft", found
    assert "of the subject_0 is out of focus" in found.detail
