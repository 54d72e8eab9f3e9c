from __future__ import annotations

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics.sensor import Sensor, develop, expand_highlights, expose, vignetting_map

FLAT = np.full((200, 300, 3), 0.25, np.float32)


def test_a_plain_sensor_changes_nothing_and_needs_no_generator() -> None:
    np.testing.assert_array_equal(expose(FLAT, Sensor()), FLAT)


def test_one_stop_doubles_the_light_and_white_clips() -> None:
    np.testing.assert_allclose(expose(FLAT, Sensor(exposure_ev=1.0)), 0.5)
    np.testing.assert_array_equal(expose(FLAT, Sensor(exposure_ev=3.0)), 1.0)


@pytest.mark.parametrize("level", [0.002, 0.05, 0.5])
@pytest.mark.parametrize("iso", [400.0, 6400.0])
def test_noise_has_the_variance_of_photons_and_reading(level: float, iso: float) -> None:
    sensor = Sensor(iso=iso)
    light = np.full((300, 300, 3), level, np.float32)
    report = light.copy()
    from mattingmfif.optics.sensor import _add_noise

    _add_noise(report, sensor, np.random.default_rng(0))  # before clipping, which cuts the tail at black
    electrons = 25000 * 100 / iso
    sigma = np.sqrt(level * electrons + 3.0**2) / electrons
    assert report.mean() == pytest.approx(level, abs=4 * sigma / np.sqrt(report.size))
    assert report.std() == pytest.approx(sigma, rel=0.01)
    assert sensor.noise_sigma(level) == pytest.approx(sigma, rel=1e-5)


def test_noise_is_a_function_of_the_seed() -> None:
    sensor = Sensor(iso=800)
    np.testing.assert_array_equal(expose(FLAT, sensor, 5), expose(FLAT, sensor, 5))
    assert not np.array_equal(expose(FLAT, sensor, 5), expose(FLAT, sensor, 6))
    with pytest.raises(UserError, match="rng"):
        expose(FLAT, sensor)


def test_vignetting_is_cos4_and_reaches_its_loss_in_the_corners() -> None:
    fall = vignetting_map(101, 151, 1.5)
    assert fall[50, 75] == 1.0
    for corner in (fall[0, 0], fall[0, -1], fall[-1, 0], fall[-1, -1]):
        assert corner == pytest.approx(2**-1.5)
    tangent = np.sqrt(2 ** (2 * 1.5 / 4) - 1)
    halfway = np.cos(np.arctan(tangent / 2)) ** 4
    assert vignetting_map(201, 201, 1.5)[50, 50] == pytest.approx(halfway, rel=1e-5)


def test_developing_rounds_to_srgb_codes_of_both_depths() -> None:
    assert develop(np.float32([[[0.0, 0.21404114, 1.0]]]), Sensor()).tolist() == [[[0, 128, 255]]]
    codes = develop(np.float32([[[0.0, 0.5, 1.0]]]), Sensor(bits=16))
    assert codes.dtype == np.uint16
    assert codes[0, 0, 2] == 65535


def test_expanded_highlights_start_smoothly_and_reach_the_given_light() -> None:
    grey = np.repeat(np.linspace(0, 1, 1001, dtype=np.float32)[None, :, None], 3, axis=2)
    raised = expand_highlights(grey, most=6.0, threshold=0.9)
    np.testing.assert_array_equal(raised[0, :900], grey[0, :900])
    assert raised[0, -1, 0] == pytest.approx(6.0, rel=1e-5)
    slopes = np.diff(raised[0, :, 0]) * 1000
    assert slopes[898:903] == pytest.approx(1.0, abs=0.2)  # no corner at the threshold
    assert (np.diff(slopes[905:]) > 0).all()
    coloured = np.float32([[[1.0, 0.5, 0.25]]])
    ratio = expand_highlights(coloured, most=4.0)[0, 0]
    np.testing.assert_allclose(ratio / ratio[0], [1.0, 0.5, 0.25], rtol=1e-5)


def test_impossible_sensors_are_refused_by_name() -> None:
    for bad in ({"bits": 12}, {"iso": -1}, {"vignetting_ev": -1}, {"full_well_electrons": 0}, {"exposure_ev": np.nan}):
        with pytest.raises(UserError, match=next(iter(bad))):
            Sensor(**bad)
    with pytest.raises(UserError, match="highlights"):
        expand_highlights(FLAT, most=0.5)
