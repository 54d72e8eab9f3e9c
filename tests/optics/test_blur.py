"""The blur of one layer's window: by spectra kept for all frames it is the convolution, whatever is asked of it."""

from __future__ import annotations

import numpy as np
import pytest

from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.blur import blur_flat
from mattingmfif.optics.pyramid import Pyramid
from mattingmfif.optics.spectra import Spectra

FRAME = (150, 190)
APERTURE = Aperture(blades=5, rotation_deg=20.0)


def planes_of(cover: str) -> np.ndarray:
    """Premultiplied planes `[C,H,W]` that cover the whole frame, a part in the middle, or a corner of it."""
    rng = np.random.default_rng(3)
    planes = rng.random((3 if cover == "whole" else 4, *FRAME), np.float32)
    alpha = np.zeros(FRAME, np.float32)
    if cover == "middle":
        alpha[60:100, 70:130] = rng.random((40, 60))
    elif cover == "corner":
        alpha[90:, 120:] = rng.random((60, 70))
    return planes if cover == "whole" else np.concatenate([planes[:3] * alpha, alpha[None]])


@pytest.mark.parametrize("cover", ["whole", "middle", "corner"])
@pytest.mark.parametrize("view", [(0, 150, 0, 190), (40, 110, 60, 150), (100, 150, 130, 190)])
@pytest.mark.parametrize("repeat_edges", [True, False])
def test_spectra_give_the_convolution(cover: str, view: tuple[int, int, int, int], repeat_edges: bool) -> None:
    planes = planes_of(cover)
    plain, kept = (Pyramid(planes, FRAME, cover == "whole", repeat_edges, view) for _ in range(2))
    kept.widest_reach = 22
    for radius in (-20.7, -7.3, 5.2, 13.0, 20.9):  # one set of spectra for all of them
        expected, found = blur_flat(plain, radius, APERTURE), blur_flat(kept, radius, APERTURE)
        assert (found.y0, found.x0, found.planes.shape) == (expected.y0, expected.x0, expected.planes.shape)
        np.testing.assert_allclose(found.planes, expected.planes, atol=2e-6)
    assert plain.spectra is None
    assert isinstance(kept.spectra, Spectra) or (cover, view[0]) == ("middle", 100)  # hardly any of it is in view


@pytest.mark.parametrize("reach", [0, 22])
def test_of_what_is_hidden_nothing_is_blurred(reach: int) -> None:
    pyramid = Pyramid(planes_of("middle"), FRAME, False)
    pyramid.widest_reach = reach
    whole = blur_flat(pyramid, 12.0, APERTURE)
    part = blur_flat(pyramid, 12.0, APERTURE, seen=(70, 120, 0, 95))
    y0, x0 = part.y0 - whole.y0, part.x0 - whole.x0
    assert (part.y0, part.x0 + part.planes.shape[2]) == (70, 95)
    np.testing.assert_allclose(
        part.planes, whole.planes[:, y0 : y0 + part.planes.shape[1], x0 : x0 + part.planes.shape[2]], atol=2e-6
    )
    assert blur_flat(pyramid, 12.0, APERTURE, seen=(0, 0, 0, 0)).planes.size == 0


def test_a_radius_wider_than_was_expected_is_still_blurred() -> None:
    pyramid = Pyramid(planes_of("whole"), FRAME, True)
    pyramid.widest_reach = 8
    plain = Pyramid(planes_of("whole"), FRAME, True)
    np.testing.assert_array_equal(blur_flat(pyramid, 20.0, APERTURE).planes, blur_flat(plain, 20.0, APERTURE).planes)
