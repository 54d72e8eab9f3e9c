"""What the public functions of matting take: arrays of any type and memory order that mean what they document."""

import numpy as np
import pytest

from mattingmfif.matting import Subjects, UserInput, estimate_alpha, estimate_layers, find_subjects
from mattingmfif.matting.accepted import accepted_masks
from mattingmfif.pixels.colour import encode_srgb, srgb_to_linear


@pytest.fixture(scope="module")
def scene(composed, as_trimap, srgb):
    photo, alpha, _, _ = composed(48, 60)
    codes = encode_srgb(photo)
    return codes, as_trimap(alpha), alpha


@pytest.mark.parametrize("top", [1, 255, 65535])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", ">u2", "i4", "i8", "f2", "f4", "f8"])
def test_a_trimap_means_the_same_in_every_type(scene, kind, top):
    codes, trimap, _ = scene
    photo = codes / np.float32(255)
    if (top == 1) != (np.dtype(kind).kind == "f") and not (top == 255 and kind[0] == "f"):
        return  # a fraction in whole numbers
    if top == 65535 and kind in ("u1", "i2"):
        return  # more than the type holds
    given = np.where(trimap == 0.5, np.ceil(top / 2) if top > 1 else 0.5, trimap * top).astype(kind)
    assert np.array_equal(estimate_alpha(photo, given), estimate_alpha(photo, trimap))


def test_photographs_of_codes_of_other_types_and_in_other_memory_order_give_the_same_alpha(scene):
    codes, trimap, _ = scene
    photo = codes / np.float32(255)
    expected = estimate_alpha(photo, trimap)
    read_only = photo.copy()
    read_only.setflags(write=False)
    for given in (
        codes,
        codes.astype(np.uint16) * 257,
        (codes.astype(np.uint16) * 257).astype(">u2"),
        photo.astype(np.float64),
        photo.astype(">f4"),
        np.asfortranarray(photo),
        np.repeat(photo, 2, axis=1)[:, ::2],
        read_only,
        photo.tolist(),
    ):
        assert np.abs(estimate_alpha(given, np.asfortranarray(trimap)) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("spoil_photo", "spoil_trimap", "said"),
    [
        (lambda photo: photo * 255, None, "up to"),
        (lambda photo: photo[..., 0], None, r"\[H,W,3\]"),
        (lambda photo: photo[..., :1], None, r"\[H,W,3\]"),
        (lambda photo: np.dstack([photo, photo[..., :1]]), None, r"\[H,W,3\]"),
        (lambda photo: np.where(np.indices(photo.shape).sum(axis=0) == 0, np.nan, photo), None, "NaN"),
        (lambda photo: photo.astype(complex), None, "complex"),
        (lambda photo: photo > 0.5, None, "bool"),
        (None, lambda trimap: trimap[..., None], r"\[H,W\]"),
        (None, lambda trimap: np.where(trimap == 0.5, np.nan, trimap), "0 / 0.5 / 1"),
        (None, lambda trimap: (trimap * 2).astype(np.uint8), "0 / 128 / 255"),
        (None, lambda trimap: trimap - 1, "-1"),
        (None, lambda trimap: trimap.astype(str), "numbers"),
    ],
)
def test_arrays_that_mean_something_else_are_refused_in_one_line(scene, spoil_photo, spoil_trimap, said):
    codes, trimap, _ = scene
    photo = codes / np.float32(255)
    with pytest.raises(ValueError, match=said) as caught:
        estimate_alpha(spoil_photo(photo) if spoil_photo else photo, spoil_trimap(trimap) if spoil_trimap else trimap)
    assert "\n" not in str(caught.value)


def _subjects(*masks, alphas=False):
    return Subjects(masks=list(masks), segmenter="given", why="test", are_alphas=alphas)


def test_layers_of_half_precision_do_not_write_beside_their_arrays(scene):
    codes, _, alpha = scene
    linear = srgb_to_linear(codes / np.float32(255))
    expected = estimate_layers(linear, _subjects(alpha > 0.5))
    for given in (linear.astype(np.float16), linear.astype(np.float64), np.asfortranarray(linear)):
        layers = estimate_layers(given, _subjects(alpha > 0.5))
        assert layers.plate_linear.dtype == np.float32
        assert np.abs(layers.cutouts[0].alpha - expected.cutouts[0].alpha).mean() < 1e-3


@pytest.mark.parametrize("kind", ["?", "u1", "u2", "f8"])
def test_a_mask_means_the_same_in_every_type(kind):
    mask = np.array([[0, 1], [1, 0]], bool)
    tops = {"?": (1,), "u1": (1, 255), "u2": (1, 255, 65535), "f8": (1,)}[kind]
    for top in tops:
        assert np.array_equal(accepted_masks([(mask * top).astype(kind)], (2, 2, 3), are_alphas=False)[0], mask)


def test_an_alpha_that_resampling_took_past_its_ends_is_clipped():
    blurred = np.array([[1.00002, 0.5], [-1e-6, 0]], np.float32)
    (alpha,) = accepted_masks([blurred], (2, 2, 3), are_alphas=True)
    assert np.array_equal(alpha, np.array([[1, 0.5], [0, 0]], np.float32))


def test_layers_of_arrays_that_do_not_fit_are_refused_in_one_line(scene):
    codes, _, alpha = scene
    linear = srgb_to_linear(codes / np.float32(255))
    broken = alpha.copy()
    broken[0, 0] = np.nan
    for photo, subjects, options, said in (
        (codes, _subjects(alpha > 0.5), {}, "linear light"),
        (linear[..., 0], _subjects(alpha > 0.5), {}, r"\[H,W,3\]"),
        (np.where(linear == linear.max(), np.inf, linear), _subjects(alpha > 0.5), {}, "infinite"),
        (linear, _subjects(alpha[:-1] > 0.5), {}, "differ in size"),
        (linear, _subjects(alpha * 255, alphas=True), {}, "0..1"),
        (linear, _subjects(broken, alphas=True), {}, "0..1"),
        (linear, _subjects(alpha > 0.5), {"plate_linear": linear[:-1]}, "differ in size"),
        (linear, _subjects(alpha > 0.5), {"photo_srgb": linear[:, :-1]}, "differ in size"),
    ):
        with pytest.raises(ValueError, match=said):
            estimate_layers(photo, subjects, **options)
    with pytest.raises(ValueError, match=r"\[H,W,3\]"):
        find_subjects(linear[..., 0])
    for words in ({"alphas": (alpha[1:],)}, {"masks": (alpha[1:] > 0.5,)}, {"scribbles": np.zeros((9, 9), np.int16)}):
        with pytest.raises(ValueError, match="differ in size"):
            find_subjects(linear, user=UserInput(**words))
