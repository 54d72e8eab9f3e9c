import cv2
import numpy as np
import pytest

from mattingmfif.optics import Aperture, ThinLens
from mattingmfif.optics.psf import psf
from mattingmfif.photo.edge_width import gradient_energies


def _edge(sigma_px, contrast, height=300, width=600):
    step = np.zeros((height, width, 3), np.float32)
    step[:, width // 2 :] = contrast
    return cv2.GaussianBlur(step, (0, 0), sigma_px) if sigma_px else step


def _texture(power, seed=0, size=512):
    """A random field whose amplitude falls with frequency to the `power`: 0 is white, 1 natural, 1.5 smooth."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((size, size)))
    field = np.fft.irfft2(spectrum / np.maximum(frequency, 1 / size) ** power, s=(size, size))
    field = 0.5 + 0.12 * (field - field.mean()) / field.std()
    return np.repeat(np.clip(field, 0, 1)[..., None], 3, axis=2).astype(np.float32)


def _out_of_focus(picture, radius_px, blades=0):
    kernel = psf(ThinLens(50.0, 2.0, 36.0, Aperture(blades=blades)), radius_px)
    return cv2.filter2D(picture, -1, np.ascontiguousarray(kernel), borderType=cv2.BORDER_REFLECT_101)


def _soft_share(picture, window_px=16.0, **kwargs):
    width_px, contrast_codes = gradient_energies(picture, window_px).edges(**kwargs)
    return float((width_px[contrast_codes > 12] > 1.5).mean())


@pytest.mark.parametrize("sigma_px", [0.0, 0.7, 1.0, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("contrast", [0.2, 0.8])
def test_a_single_edge_is_as_wide_as_the_blur_that_made_it(sigma_px, contrast):
    width_px, contrast_codes = gradient_energies(_edge(sigma_px, contrast), 30.0).edges()
    middle = width_px[4:-4, width_px.shape[1] // 2 - 1 : width_px.shape[1] // 2 + 1]
    assert middle.mean() == pytest.approx(sigma_px, rel=0.06, abs=0.25)
    assert contrast_codes.max() > 12


def test_white_noise_has_the_energies_that_are_taken_for_grain():
    noise = np.repeat(np.random.default_rng(0).standard_normal((1024, 1024, 1)).astype(np.float32), 3, axis=2)
    energies = gradient_energies(0.5 + noise * 4 / 255, 32.0)
    assert energies.grain == pytest.approx([float(octave.mean()) for octave in energies.octaves], rel=0.2)


@pytest.mark.parametrize("power", [0.8, 1.0, 1.4])
@pytest.mark.parametrize("blades", [0, 6])
def test_texture_of_any_roughness_is_soft_only_when_blurred(power, blades):
    texture = _texture(power)
    assert _soft_share(texture) < 0.05
    for radius_px in (4.0, 6.0, 10.0):
        assert _soft_share(_out_of_focus(texture, radius_px, blades)) > 0.8, radius_px


def test_grain_that_grows_with_brightness_hides_no_blur():
    """Black places, where grain is measured, have none of it; the blurred ones have."""
    dark = _texture(1.2)
    dark[:, :96] = 0
    soft = _out_of_focus(dark, 10.0)
    grain = np.random.default_rng(1).standard_normal(soft.shape).astype(np.float32) * 6 / 255 * soft
    assert _soft_share(soft + grain, 24.0) > 0.9


def test_a_smooth_slope_under_grain_is_neither_sharp_nor_soft():
    slope = np.repeat(np.linspace(0.4, 0.6, 512, dtype=np.float32)[None, :, None], 384, axis=0).repeat(3, axis=2)
    grainy = slope + np.random.default_rng(2).standard_normal(slope.shape).astype(np.float32) * 2 / 255
    _, contrast_codes = gradient_energies(grainy, 10.0).edges()
    assert (contrast_codes > 12).mean() < 0.02


def test_only_edges_within_the_mask_count():
    picture = _texture(1.0)
    picture[:, 256:] = _out_of_focus(picture, 5.0)[:, 256:]
    energies = gradient_energies(picture, 32.0)
    right = np.zeros(energies.octaves[0].shape, bool)
    right[:, right.shape[1] // 2 + 1 :] = True
    whole, _ = energies.edges()
    own, _ = energies.edges(right)
    assert (own[right] > 1.5).mean() > 0.95
    assert (whole[right] > 1.5).mean() < (own[right] > 1.5).mean()


def test_a_photograph_enlarged_three_times_is_as_soft_as_it_looks():
    small = cv2.GaussianBlur(_texture(1.0), (0, 0), 0.7)  # what a lens and a demosaiced sensor leave
    large = cv2.resize(small, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert _soft_share(small) < 0.05
    assert _soft_share(large) > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (600, 1), (7, 5), (33, 2)])
def test_tiny_pictures_give_finite_widths(shape):
    picture = np.random.default_rng(0).random((*shape, 3), np.float32)
    for part in gradient_energies(picture, 3.0).edges():
        assert np.isfinite(part).all()
