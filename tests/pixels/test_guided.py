import cv2
import numpy as np

from mattingmfif.pixels.guided import apply_coefficients, guided_coefficients


def _guide(height=48, width=64):
    return cv2.GaussianBlur(np.random.default_rng(0).random((height, width, 3), np.float32), (0, 0), 2)


def test_a_target_linear_in_the_guide_is_reproduced():
    guide = _guide()
    target = (0.2 + guide @ np.array([0.3, -0.5, 0.8], np.float32)).astype(np.float32)
    found = apply_coefficients(guided_coefficients(guide, target, 2, 1e-9), guide)
    assert np.abs(found - target).max() < 2e-3


def test_a_constant_target_is_reproduced_whatever_the_guide():
    guide = _guide()
    found = apply_coefficients(guided_coefficients(guide, np.full((48, 64), 0.4, np.float32), 1, 1e-5), guide)
    assert np.abs(found - 0.4).max() < 1e-4


def test_much_regularisation_leaves_a_plain_mean_of_means():
    guide, target = _guide(), np.random.default_rng(1).random((48, 64), np.float32)
    found = apply_coefficients(guided_coefficients(guide, target, 2, 1e6), guide)
    twice = cv2.blur(
        cv2.blur(target, (5, 5), borderType=cv2.BORDER_REFLECT_101), (5, 5), borderType=cv2.BORDER_REFLECT_101
    )
    assert np.abs(found - twice).max() < 1e-3


def test_it_agrees_with_a_plain_least_squares_fit_in_each_window():
    guide, target = _guide(9, 11), np.random.default_rng(2).random((9, 11), np.float32)
    epsilon = 1e-3
    plain = np.zeros((9, 11, 4))
    padded = np.pad(guide, ((1, 1), (1, 1), (0, 0)), mode="reflect").astype(np.float64)
    padded_target = np.pad(target, 1, mode="reflect").astype(np.float64)
    for y in range(9):
        for x in range(11):
            colours = padded[y : y + 3, x : x + 3].reshape(9, 3)
            values = padded_target[y : y + 3, x : x + 3].ravel()
            centred = colours - colours.mean(axis=0)
            a = np.linalg.solve(centred.T @ centred / 9 + epsilon * np.eye(3), centred.T @ (values - values.mean()) / 9)
            plain[y, x] = [*a, values.mean() - a @ colours.mean(axis=0)]
    mean = cv2.blur(plain, (3, 3), borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(guided_coefficients(guide, target, 1, epsilon) - mean).max() < 1e-4


def test_small_coefficients_bring_the_detail_of_a_large_guide():
    large = np.zeros((64, 64, 3), np.float32)
    large[:, 31:] = 0.9  # an edge inside a cell of the reduced picture
    small = cv2.resize(large, (16, 16), interpolation=cv2.INTER_AREA)
    target = small[..., 0] / 0.9
    found = apply_coefficients(guided_coefficients(small, target, 1, 1e-6), large)
    truth = large[..., 0] / 0.9
    blurred = cv2.resize(target, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(found - truth).mean() < 0.1 * np.abs(blurred - truth).mean()
