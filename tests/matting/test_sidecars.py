import cv2
import numpy as np
import pytest

from mattingmfif.errors import REASONS, Refused
from mattingmfif.matting import MattingSettings, UserInput, find_subjects
from mattingmfif.matting.sidecars import matte_files, read_user_input
from mattingmfif.matting.trimap import UNKNOWN

SHAPE = (40, 60)


def _disc(value=255, dtype=np.uint8):
    matte = np.zeros(SHAPE, dtype)
    matte[10:30, 20:40] = value
    return matte


def _write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_every_kind_of_file_beside_a_photo_is_read(tmp_path):
    _write(tmp_path / "trip" / "fox.alpha.png", _disc(32768, np.uint16))
    _write(tmp_path / "trip" / "fox.alpha.2.png", np.roll(_disc(), 15, axis=1))
    _write(tmp_path / "trip" / "fox.mask.png", _disc())
    trimap = np.full(SHAPE, 128, np.uint8)
    trimap[:5], trimap[15:25, 25:35] = 0, 255
    _write(tmp_path / "trip" / "fox.trimap.png", trimap)
    _write(tmp_path / "trip" / "fox.scribbles.png", trimap)
    _write(tmp_path / "trip" / "fox.plate.png", np.full((*SHAPE, 3), [0, 0, 255], np.uint8))
    (tmp_path / "trip" / "fox.box.txt").write_text("# one box\n20, 10, 40, 30\n")
    user = read_user_input(tmp_path, "trip/fox.jpg", SHAPE)
    assert len(user.alphas) == 2
    assert user.alphas[0][20, 30] == pytest.approx(0.5, abs=1e-4)
    assert user.masks[0].sum() == 400
    assert sorted(np.unique(user.labels)) == [UNKNOWN, 0, 1]
    assert user.boxes == ((20, 10, 40, 30),)
    assert user.plate_linear[0, 0].tolist() == [1, 0, 0]
    assert user.says_something
    assert len(matte_files(tmp_path, "trip/fox.jpg")) == 7


def test_capital_letters_and_jpegs_are_read_too(tmp_path):
    _write(tmp_path / "Fox.PNG", _disc())
    _write(tmp_path / "Fox.Mask.JPG", _disc())
    _write(tmp_path / "Fox.TRIMAP.TIF", np.where(_disc() > 0, 255, 128).astype(np.uint8))
    user = read_user_input(tmp_path, "Fox.PNG", SHAPE)
    assert (user.masks[0] == (_disc() > 0)).all()
    assert (user.labels == 1).sum() == 400


@pytest.mark.parametrize(
    "names",
    [
        ("alpha.png", "alpha.tif"),
        ("mask.2.png", "Mask.2.webp"),
        ("plate.png", "plate.2.png"),
        ("alpha.1.png", "alpha.png"),
        ("mask.02.png", "mask.2.png"),
    ],
)
def test_the_same_matte_under_two_names_is_not_two_subjects(tmp_path, names):
    for name in names:
        _write(tmp_path / f"fox.{name}", _disc())
    with pytest.raises(Refused, match=f"fox.{names[1]}.*leave one") as caught:
        read_user_input(tmp_path, "fox.jpg", SHAPE)
    assert caught.value.reason == "two-mattes"
    assert len(matte_files(tmp_path, "fox.jpg")) == 2  # both are part of the plan's identity


@pytest.mark.parametrize("photo", ["fox.jpg", "fox.2.jpg"])
def test_a_plain_name_in_a_folder_of_mattes_and_one_with_its_kind_are_the_same(tmp_path, photo):
    stem = photo.removesuffix(".jpg")
    for name in (f"{stem}.2.png", f"{stem}.alpha.2.png"):
        _write(tmp_path / name, _disc())
    with pytest.raises(Refused, match="same alpha twice"):
        read_user_input(tmp_path / "photos", photo, SHAPE, mattes=tmp_path)
    (tmp_path / f"{stem}.2.png").rename(tmp_path / f"{stem}.png")
    assert len(read_user_input(tmp_path / "photos", photo, SHAPE, mattes=tmp_path).alphas) == 2


def test_files_of_other_photos_are_left_alone(tmp_path):
    _write(tmp_path / "foxes.alpha.png", _disc())
    _write(tmp_path / "fox.png", _disc())
    assert not read_user_input(tmp_path, "fox.png", SHAPE).says_something


def test_in_a_folder_of_mattes_a_plain_name_is_an_alpha(tmp_path):
    _write(tmp_path / "mattes" / "trip" / "fox.png", _disc())
    _write(tmp_path / "mattes" / "fox.png", np.zeros(SHAPE, np.uint8))
    user = read_user_input(tmp_path, "trip/fox.jpg", SHAPE, mattes=tmp_path / "mattes")
    assert user.alphas[0].max() == 1


def test_mattes_are_reduced_with_their_photo(tmp_path):
    _write(tmp_path / "fox.alpha.png", _disc())
    _write(tmp_path / "fox.trimap.png", np.where(_disc() > 0, 255, 128).astype(np.uint8))
    (tmp_path / "fox.box.txt").write_text("20 10 40 30")
    user = read_user_input(tmp_path, "fox.jpg", SHAPE, (20, 30))
    assert user.alphas[0].shape == user.labels.shape == (20, 30)
    assert user.alphas[0].sum() == pytest.approx(100)
    assert user.boxes == ((10, 5, 20, 15),)
    assert (user.labels == 1).sum() == 100


def test_a_stroke_as_thin_as_a_pixel_survives_any_reduction(tmp_path):
    strokes = np.full((400, 600), 128, np.uint8)
    strokes[203, 100:300], strokes[17, 40:90], strokes[303, 411] = 255, 0, 255
    _write(tmp_path / "fox.scribbles.png", strokes)
    found = read_user_input(tmp_path, "fox.jpg", strokes.shape, (50, 75)).scribbles
    assert (found[25, 13:37] == 1).all()
    assert (found[2, 5:11] == 0).all()
    assert found[37, 51] == 1
    assert (found == UNKNOWN).sum() > 3650
    photo = np.full((400, 600, 3), 0.2, np.float32)
    photo[150:250, 80:320] = 0.8
    photo[303, 411] = 0.9
    few = np.where(strokes == 255, 1, np.where(strokes == 0, 0, UNKNOWN)).astype(np.int16)
    few[303, 411] = 2  # one pixel is all that is said of the second
    settings = MattingSettings(segment_long_side_px=128)
    assert len(find_subjects(photo, settings, UserInput(scribbles=few)).masks) == 2


def test_a_cut_out_gives_its_alpha_channel(tmp_path):
    rgba = np.dstack([np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8), _disc()])
    _write(tmp_path / "fox.alpha.png", rgba)
    assert np.array_equal(read_user_input(tmp_path, "fox.jpg", SHAPE).alphas[0], _disc() / np.float32(255))


def test_a_grey_matte_stored_in_colour_is_grey(tmp_path):
    _write(tmp_path / "fox.alpha.png", np.repeat(_disc()[..., None], 3, axis=2))
    assert read_user_input(tmp_path, "fox.jpg", SHAPE).alphas[0].max() == 1


def test_two_trimaps_become_one_map_of_two_subjects(tmp_path):
    for number, columns in (("", slice(5, 15)), (".2", slice(35, 45))):
        trimap = np.zeros(SHAPE, np.uint8)
        trimap[10:30, columns] = 255
        _write(tmp_path / f"fox.trimap{number}.png", trimap)
    labels = read_user_input(tmp_path, "fox.jpg", SHAPE).labels
    assert labels[20, 10] == 1
    assert labels[20, 40] == 2
    assert labels[0, 0] == 0


def _colour(path):
    _write(path / "fox.alpha.png", np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8))


def _other_size(path):
    _write(path / "fox.mask.png", np.zeros((41, 60), np.uint8))


def _broken(path):
    (path / "fox.alpha.png").write_bytes(b"\x89PNG\r\n\x1a\n...")


def _bad_box(path):
    (path / "fox.box.txt").write_text("10 10 5 20")


def _box_outside(path):
    (path / "fox.box.txt").write_text("10 10 61 20")


def _mask_of_ones(path):
    _write(path / "fox.mask.png", _disc(1))


def _alpha_of_8_bits_in_16(path):
    _write(path / "fox.alpha.png", _disc(255, np.uint16))


def _trimap_of_labels(path):
    _write(path / "fox.trimap.png", _disc(2))


def _box_words(path):
    (path / "fox.box.txt").write_text("left top right bottom")


def _no_box(path):
    (path / "fox.box.txt").write_text("# none\n")


@pytest.mark.parametrize(
    ("make", "reason", "says"),
    [
        (_colour, "colour-matte", "fox.alpha.png"),
        (_other_size, "matte-size", "60x41.*60x40"),
        (_broken, "matte-unreadable", "fox.alpha.png"),
        (_bad_box, "box-invalid", "line 1.*x0 < x1"),
        (_box_outside, "box-invalid", "line 1: not inside the photo of 60x40"),
        (_mask_of_ones, "empty-matte", r"fox.mask.png: its brightest pixel is 1 of 255.*white \(255\)"),
        (_alpha_of_8_bits_in_16, "empty-matte", "255 of 65535"),
        (_trimap_of_labels, "matte-unreadable", "fox.trimap.png: .*0 / 128 / 255"),
        (_box_words, "box-invalid", "line 1"),
        (_no_box, "box-invalid", "no box"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path, make, reason, says):
    make(tmp_path)
    with pytest.raises(Refused, match=says) as caught:
        read_user_input(tmp_path, "fox.jpg", SHAPE)
    assert caught.value.reason == reason
    assert caught.value.reason in REASONS
