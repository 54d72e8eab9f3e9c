import cv2
import numpy as np
import pytest

from mattingmfif.pixels.colour import linear_to_srgb


def _texture(rng, height, width, low, high, grain_px):
    small = rng.random((max(2, height // grain_px), max(2, width // grain_px), 3), np.float32)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1) * (high - low) + low


@pytest.fixture(scope="session")
def composed():
    """Makes a composite with known truth: (photo_linear, alpha, foreground, background), all float32."""

    def compose(height=160, width=200, soft_px=2.0, seed=0, centre=(0.5, 0.5), radius=0.3):
        rng = np.random.default_rng(seed)
        foreground = _texture(rng, height, width, 0.45, 0.95, 24) * np.array([1, 0.8, 0.2], np.float32)
        background = _texture(rng, height, width, 0.02, 0.35, 16) * np.array([0.4, 0.9, 1], np.float32)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        angle = np.arctan2(y - height * centre[0], x - width * centre[1])
        edge = radius * height * (1 + 0.15 * np.sin(5 * angle))
        inside = edge - np.hypot(y - height * centre[0], x - width * centre[1])
        alpha = np.clip(inside / (2 * soft_px) + 0.5, 0, 1).astype(np.float32)
        photo = foreground * alpha[..., None] + background * (1 - alpha[..., None])
        return photo.astype(np.float32), alpha, foreground.astype(np.float32), background.astype(np.float32)

    return compose


@pytest.fixture(scope="session")
def as_trimap():
    """Makes a trimap 0 / 0.5 / 1 of an alpha, unknown within a margin of what is neither 0 nor 1."""

    def trimap(alpha, margin_px=6):
        size = 2 * margin_px + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        out = np.full(alpha.shape, 0.5, np.float32)
        out[cv2.erode(alpha, disc) >= 1] = 1
        out[cv2.dilate(alpha, disc) <= 0] = 0
        return out

    return trimap


@pytest.fixture(scope="session")
def srgb():
    """The encoded picture of linear light."""
    return linear_to_srgb
