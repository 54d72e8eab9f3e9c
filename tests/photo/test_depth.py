import cv2
import numpy as np
import pytest

from mattingmfif.dataset.inputs import Inputs
from mattingmfif.errors import Refused, UserError
from mattingmfif.photo.depth import find_depth, read_depth

SHAPE = (6, 9)


def both(depth):
    return depth.distance_m, depth.trusted


def _save(tmp_path, values, name="d.npy"):
    np.save(tmp_path / name, values)
    return tmp_path / name


def test_metres_come_back_as_they_are_and_infinity_is_welcome(tmp_path):
    values = np.linspace(1, 9, 54).reshape(SHAPE)
    values[0, 0] = np.inf
    distance_m, trusted = both(read_depth(_save(tmp_path, values), "metres", None, None, SHAPE))
    assert distance_m.dtype == np.float32
    assert np.array_equal(distance_m, values.astype(np.float32))
    assert trusted.all()


@pytest.mark.parametrize("unknown", [np.nan, 0.0, -1.0])
def test_unknown_metres_take_the_nearest_value_and_are_not_trusted(tmp_path, unknown):
    values = np.full(SHAPE, 2.0)
    values[:, 5:] = 7.0
    values[2, 1], values[2, 8] = unknown, unknown
    distance_m, trusted = both(read_depth(_save(tmp_path, values), "metres", None, None, SHAPE))
    assert (distance_m[2, 1], distance_m[2, 8]) == (2.0, 7.0)
    assert not trusted[2, 1]
    assert trusted.sum() == 52


def test_the_fill_is_the_truly_nearest_known_value(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.random((20, 30)) + 1
    known = rng.random((20, 30)) > 0.9
    values[~known] = np.nan
    distance_m, _ = both(read_depth(_save(tmp_path, values), "metres", None, None, (20, 30)))
    rows, columns = np.nonzero(known)
    for y, x in [(0, 0), (10, 15), (19, 29), (3, 22)]:
        squared = (rows - y) ** 2 + (columns - x) ** 2
        nearest = values[rows[squared <= squared.min() * 1.1 + 1e-9], columns[squared <= squared.min() * 1.1 + 1e-9]]
        assert np.abs(nearest - distance_m[y, x]).min() < 1e-6


def test_disparity_is_linear_in_inverse_distance_between_near_and_far(tmp_path):
    values = np.tile(np.linspace(10, 50, 9), (6, 1))
    distance_m, trusted = both(read_depth(_save(tmp_path, values), "disparity", 0.5, 10.0, SHAPE))
    assert distance_m[0, -1] == pytest.approx(0.5)
    assert distance_m[0, 0] == pytest.approx(10.0)
    steps = np.diff(1 / distance_m[0])
    assert steps == pytest.approx(np.full(8, steps[0]), rel=1e-4)
    assert trusted.all()


def test_disparity_zero_is_infinitely_far_and_damaged_values_are_unknown(tmp_path):
    values = np.full(SHAPE, 5.0)
    values[0, 0], values[1, 1], values[2, 2], values[3, 3] = 0, -3, np.nan, np.inf
    distance_m, trusted = both(read_depth(_save(tmp_path, values), "disparity", 1.0, 20.0, SHAPE))
    assert np.isinf(distance_m[0, 0])
    assert trusted[0, 0]
    assert [bool(trusted[k, k]) for k in (1, 2, 3)] == [False] * 3
    assert np.isfinite(distance_m[1:]).all()


def test_a_16_bit_png_holds_millimetres_or_disparities(tmp_path):
    codes = np.full(SHAPE, 2500, np.uint16)
    codes[0, 0] = 0
    cv2.imwrite(str(tmp_path / "d.png"), codes)
    distance_m, trusted = both(read_depth(tmp_path / "d.png", "metres", None, None, SHAPE))
    assert distance_m == pytest.approx(2.5)
    assert not trusted[0, 0]
    distance_m, _ = both(read_depth(tmp_path / "d.png", "disparity", 1.0, 5.0, SHAPE))
    assert np.isinf(distance_m[0, 0])


@pytest.mark.parametrize("channels", [3, 4])
def test_a_grey_png_saved_in_colour_is_grey(tmp_path, channels):
    codes = np.full((*SHAPE, channels), 2500, np.uint16)
    codes[..., 3:] = 65535
    cv2.imwrite(str(tmp_path / "d.png"), codes)
    assert read_depth(tmp_path / "d.png", "metres", None, None, SHAPE).distance_m == pytest.approx(2.5)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pfm_is_read_from_the_bottom_up_in_both_byte_orders(tmp_path, order):
    values = np.arange(1, 55, dtype=np.float32).reshape(SHAPE)
    scale = "-1.0" if order == "<" else "1.0"
    (tmp_path / "d.pfm").write_bytes(f"Pf\n9 6\n{scale}\n".encode() + values[::-1].astype(order + "f4").tobytes())
    distance_m, _ = both(read_depth(tmp_path / "d.pfm", "metres", None, None, SHAPE))
    assert np.array_equal(distance_m, values)


def test_a_map_of_the_photos_own_size_is_reduced_with_it_without_mixing(tmp_path):
    values = np.full((12, 18), 1.0)
    values[:, 9:] = 100.0
    distance_m, _ = both(read_depth(_save(tmp_path, values), "metres", None, None, SHAPE))
    assert set(np.unique(distance_m)) == {1.0, 100.0}
    assert distance_m.shape == SHAPE


def test_another_size_is_refused_and_both_sizes_are_named(tmp_path):
    with pytest.raises(Refused, match=r"4x3.*9x6") as caught:
        read_depth(_save(tmp_path, np.ones((3, 4))), "metres", None, None, SHAPE)
    assert caught.value.reason == "depth-size"


def test_a_map_without_any_usable_value_is_refused(tmp_path):
    with pytest.raises(Refused) as caught:
        read_depth(_save(tmp_path, np.full(SHAPE, np.nan)), "metres", None, None, SHAPE)
    assert caught.value.reason == "depth-unknown"


def test_files_that_hold_no_plane_of_numbers_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cube.npy", np.ones((3, 4, 5)))
    np.save(tmp_path / "text.npy", np.full(SHAPE, "x"))
    (tmp_path / "torn.pfm").write_bytes(b"Pf\n9 6\n-1.0\nabc")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, depth=np.ones(SHAPE))
    whole = bytearray(_save(tmp_path, np.ones(SHAPE), "whole.npy").read_bytes())
    whole[whole.index(b"}")] = ord("\x00")  # numpy's parser of headers has exceptions of its own
    (tmp_path / "header.npy").write_bytes(whole)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([np.full(SHAPE, k, np.uint8) for k in (10, 20, 30)]))
    npy = ("pickled.npy", "cube.npy", "text.npy", "empty.npy", "archive.npy", "header.npy")
    for name in (*npy, "torn.pfm", "torn.png", "a.exr", "colour.png"):
        with pytest.raises(Refused) as caught:
            read_depth(tmp_path / name, "metres", None, None, SHAPE)
        assert caught.value.reason == "depth-unreadable", name
        assert "pickle" not in caught.value.detail, name


def test_an_unknown_kind_or_an_impossible_range_is_the_users_error(tmp_path):
    path = _save(tmp_path, np.ones(SHAPE))
    with pytest.raises(UserError, match="metres, disparity"):
        read_depth(path, "depth", None, None, SHAPE)
    with pytest.raises(UserError, match="near"):
        read_depth(path, "disparity", 5.0, 2.0, SHAPE)


def test_the_depth_file_of_a_photo_has_its_name(tmp_path):
    (tmp_path / "trip").mkdir()
    _save(tmp_path, np.ones(SHAPE), "trip/fox.npy")
    assert find_depth(tmp_path, "trip/fox.jpg") == tmp_path / "trip" / "fox.npy"
    assert find_depth(tmp_path, "fox.jpg") is None


@pytest.mark.parametrize("suffix", [".png", ".npy", ".pfm", ".exr"])
def test_a_png_photo_is_not_its_own_depth_map(tmp_path, suffix):
    photo, depth = tmp_path / "fox.png", tmp_path / f"fox.depth{suffix}"
    photo.write_bytes(b"a photo")
    assert Inputs(src=tmp_path).depth_file("fox.png") is None
    assert Inputs(src=tmp_path, depth=tmp_path).depth_file("fox.png") is None
    depth.write_bytes(b"a map")
    assert Inputs(src=tmp_path).depth_file("fox.png") == depth
    assert Inputs(src=tmp_path, depth=tmp_path).depth_file("fox.png") == depth


def test_whole_numbers_are_millimetres(tmp_path):
    for name, values in (("d.npy", np.full(SHAPE, 1500, np.int32)), ("e.npy", np.full(SHAPE, 1.5, np.float64))):
        depth = read_depth(_save(tmp_path, values, name), "metres", None, None, SHAPE)
        np.testing.assert_allclose(depth.distance_m, 1.5, rtol=1e-6)


def test_a_smaller_map_of_the_same_shape_is_brought_to_the_photos_size(tmp_path):
    values = np.full((30, 40), 4.0, np.float32)
    values[10:20, 15:30] = 1.0
    values[0, 0], values[5, 5] = np.nan, np.inf
    depth = read_depth(_save(tmp_path, values), "metres", None, None, (300, 401))  # within 1 % of 3:4
    assert depth.distance_m.shape == depth.trusted.shape == (300, 401)
    assert set(np.unique(depth.distance_m)) == {1.0, 4.0, np.inf}
    assert (depth.distance_m[105:195, 160:295] == 1).all()
    assert depth.resized
    assert depth.map_shape == (30, 40)
    assert not depth.trusted[:4, :4].any()
    assert depth.trusted[10:].all()


@pytest.mark.parametrize("size", [(30, 41), (31, 40), (40, 30), (9, 12)])
def test_a_map_of_another_shape_or_far_too_coarse_is_refused(tmp_path, size):
    with pytest.raises(Refused, match=f"{size[1]}x{size[0]}.*400x300") as caught:
        read_depth(_save(tmp_path, np.ones(size)), "metres", None, None, (300, 400))
    assert caught.value.reason == "depth-size"


def test_what_a_renderer_calls_very_far_is_infinitely_far(tmp_path):
    values = np.full(SHAPE, 3.0, np.float32)
    values[0] = 1e10
    depth = read_depth(_save(tmp_path, values), "metres", None, None, SHAPE)
    assert np.isinf(depth.distance_m[0]).all()
    assert depth.trusted.all()


@pytest.mark.parametrize("kind", ["metres", "disparity"])
@pytest.mark.parametrize("dtype", ["float16", ">f4", "float64", "int8", "uint8", "int64", "uint64"])
def test_whatever_numbers_a_map_holds_distances_come_back_or_a_reason(tmp_path, kind, dtype, recwarn):
    rng = np.random.default_rng(0)
    odd = [0.0, 1.0, 3.0, 100.0]
    if np.dtype(dtype).kind == "f":
        odd += [np.nan, np.inf, -np.inf, -5.0]
        odd += {"float16": [6e4], ">f4": [1e-45, 1e30], "float64": [1e300, 1e-300]}[dtype]
    elif np.dtype(dtype).kind == "i":
        odd += [-7, np.iinfo(dtype).min]
    else:
        odd += [np.iinfo(dtype).max]
    for values in (rng.choice(np.array(odd, dtype), (6, 9)), *(np.full((6, 9), value, dtype) for value in odd)):
        reason = None
        try:
            depth = read_depth(_save(tmp_path, values), kind, 1.0, 20.0, (24, 36))
            assert (depth.distance_m > 0).all()
            assert depth.distance_m.dtype == np.float32
        except Refused as refused:
            reason = refused.reason
        assert reason in (None, "depth-unknown")
    assert not recwarn.list
