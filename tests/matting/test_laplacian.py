import numpy as np
import pytest

from mattingmfif.matting import laplacian
from mattingmfif.matting.kernels import PAD_PX
from mattingmfif.matting.laplacian import band_of, bring_up, relax, solve_exactly

EPSILON = 1e-7


def _plain_laplacian(photo, epsilon):
    """The matting Laplacian straight from its definition: a double loop over windows and their pixels."""
    height, width, _ = photo.shape
    matrix = np.zeros((height * width, height * width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            numbers = [(y + dy) * width + x + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            colours = photo.reshape(-1, 3)[numbers].astype(np.float64)
            mean = colours.mean(axis=0)
            covariance = (colours - mean).T @ (colours - mean) / 9 + epsilon / 9 * np.eye(3)
            inverse = np.linalg.inv(covariance)
            for i, a in enumerate(numbers):
                for j, b in enumerate(numbers):
                    matrix[a, b] += (i == j) - (1 + (colours[i] - mean) @ inverse @ (colours[j] - mean)) / 9
    return matrix


def _dense(photo, unknown):
    """The rows of the unknown pixels as a plain matrix over all pixels."""
    band = band_of(photo, unknown, EPSILON, np.float64)
    height, width = unknown.shape
    rows, columns = np.nonzero(unknown)
    matrix = np.zeros((len(rows), height + 2 * PAD_PX, width + 2 * PAD_PX))
    for n, (y, x) in enumerate(zip(rows, columns, strict=True)):
        matrix[n, y : y + 5, x : x + 5] = band.stencils[n].reshape(5, 5)
    inside = matrix[:, PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]
    assert np.abs(matrix).sum() == pytest.approx(np.abs(inside).sum())  # nothing outside the picture
    return inside.reshape(len(rows), -1)


def test_the_laplacian_is_the_one_of_the_definition():
    photo = np.random.default_rng(0).random((7, 9, 3), np.float32)
    fast = _dense(photo, np.ones((7, 9), bool))
    assert np.abs(fast - _plain_laplacian(photo, EPSILON)).max() < 1e-6
    assert np.abs(fast.sum(axis=1)).max() < 1e-9


def test_rows_of_unknown_pixels_do_not_depend_on_which_other_windows_are_left_out():
    photo = np.random.default_rng(1).random((12, 14, 3), np.float32)
    unknown = np.zeros((12, 14), bool)
    unknown[4:8, 5:9] = True
    whole = _dense(photo, np.ones_like(unknown))[np.flatnonzero(unknown)]
    assert np.abs(_dense(photo, unknown) - whole).max() < 1e-9


def _problem():
    """A photo, its unknown pixels, and a plane whose known pixels are set (the picture's border is unknown too)."""
    photo = np.random.default_rng(2).random((24, 31, 3), np.float32) * 0.2 + 0.3
    photo[:, 15:] += 0.2
    plane = np.zeros((24, 31), np.float32)
    plane[:, 25:] = 1
    unknown = np.zeros((24, 31), bool)
    unknown[:, 6:25] = True
    return photo, unknown, plane


def test_the_exact_solution_solves_the_equations_of_the_definition():
    photo, unknown, plane = _problem()
    matrix = _plain_laplacian(photo, EPSILON)[np.flatnonzero(unknown)]
    free, known = np.flatnonzero(unknown), np.flatnonzero(~unknown)
    expected = plane.copy()
    expected[unknown] = np.clip(
        np.linalg.solve(matrix[:, free], -matrix[:, known] @ plane.ravel()[known].astype(np.float64)), 0, 1
    )
    solve_exactly(band_of(photo, unknown, EPSILON, np.float64), [plane])
    assert np.abs(plane - expected).max() < 1e-4


def test_steps_lead_to_the_exact_solution():
    photo, unknown, plane = _problem()
    exact = plane.copy()
    solve_exactly(band_of(photo, unknown, EPSILON, np.float64), [exact])
    away = []
    for steps in (0, 5, 20, 80, 400):
        relaxed = plane.copy()
        relaxed[unknown] = 0.5
        relax(band_of(photo, unknown, EPSILON), relaxed, steps)
        assert np.array_equal(relaxed[~unknown], plane[~unknown])
        away.append(float(np.abs(relaxed - exact).mean()))
    assert away == sorted(away, reverse=True)
    assert away[2] < 0.5 * away[0]
    assert away[-1] < 1e-4


def test_a_step_is_one_of_conjugate_gradients_preconditioned_by_symmetric_gauss_seidel():
    photo, unknown, plane = _problem()
    plane[unknown] = np.random.default_rng(5).uniform(0.4, 0.6, int(unknown.sum()))
    free = np.flatnonzero(unknown)
    system = _plain_laplacian(photo, EPSILON)[free]
    residual = -system @ plane.ravel().astype(np.float64)
    matrix = system[:, free]
    lower = np.tril(matrix)  # with the diagonal
    preconditioned = np.linalg.solve(lower.T, np.diag(matrix) * np.linalg.solve(lower, residual))
    step = (residual @ preconditioned) / (preconditioned @ matrix @ preconditioned)
    expected = np.clip(plane.ravel()[free] + step * preconditioned, 0, 1)
    relax(band_of(photo, unknown, EPSILON), plane, 1)
    assert np.abs(plane.ravel()[free] - expected).max() < 1e-3


def test_every_plane_is_solved_by_steps_where_elimination_fails(monkeypatch):
    photo, unknown, plane = _problem()
    planes = [plane, np.where(unknown, np.float32(0), 1 - plane)]
    exact = [each.copy() for each in planes]
    solve_exactly(band_of(photo, unknown, EPSILON, np.float64), exact)

    class Failed:
        def solve(self, sides):
            return np.full_like(sides, np.nan)

    monkeypatch.setattr(laplacian, "splu", lambda *args, **options: Failed())
    solve_exactly(band_of(photo, unknown, EPSILON, np.float64), planes)
    for found, expected in zip(planes, exact, strict=True):
        assert np.abs(found - expected).max() < 1e-3


def test_a_solution_already_reached_is_left_alone():
    photo, unknown, plane = _problem()
    plane[:] = 1.0  # a constant has no energy
    relax(band_of(photo, unknown, EPSILON), plane, 50)
    assert np.abs(plane - 1).max() < 1e-6


def _small_and_large(seed, height, width):
    rng = np.random.default_rng(seed)
    photo = rng.random((2 * height, 2 * width, 3), np.float32)
    return photo, photo.reshape(height, 2, width, 2, 3).mean(axis=(1, 3)), rng.random((height, width), np.float32)


def test_detail_follows_a_plain_least_squares_fit_in_each_window():
    height, width, epsilon = 7, 9, 5e-5
    photo, small_photo, small = _small_and_large(3, height, width)
    lines = np.zeros((height, width, 4))
    padded = np.pad(small_photo, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float64)
    padded_target = np.pad(small, 1, mode="edge").astype(np.float64)
    for y in range(height):
        for x in range(width):
            colours = padded[y : y + 3, x : x + 3].reshape(9, 3)
            values = padded_target[y : y + 3, x : x + 3].ravel()
            centred = colours - colours.mean(axis=0)
            a = np.linalg.solve(centred.T @ centred / 9 + epsilon * np.eye(3), centred.T @ (values - values.mean()) / 9)
            lines[y, x] = [*a, values.mean() - a @ colours.mean(axis=0)]
    around = np.pad(lines, ((1, 1), (1, 1), (0, 0)), mode="edge")
    means = np.mean([around[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)
    out = np.zeros((2 * height, 2 * width), np.float32)
    bring_up(small, small_photo, photo, np.ones(out.shape, bool), out)
    for y in range(2 * height):
        for x in range(2 * width):
            rows, columns = ((p + 0.5) / 2 - 0.5 for p in (y, x))
            line = np.zeros(4)
            for cy in (np.floor(rows), np.floor(rows) + 1):
                for cx in (np.floor(columns), np.floor(columns) + 1):
                    weight = (1 - abs(rows - cy)) * (1 - abs(columns - cx))
                    line += weight * means[int(np.clip(cy, 0, height - 1)), int(np.clip(cx, 0, width - 1))]
            assert out[y, x] == pytest.approx(np.clip(line[:3] @ photo[y, x] + line[3], 0, 1), abs=1e-4)


def test_a_solution_linear_in_the_colour_comes_up_exactly_and_only_where_it_is_wanted():
    photo, small_photo, _ = _small_and_large(4, 20, 30)
    factors = np.array([0.2, 0.3, 0.4], np.float32)
    band = np.zeros((39, 59), bool)  # odd: the last cells are half outside
    band[10:30, 20:45] = band[36:, 50:] = True
    out = np.full(band.shape, 7, np.float32)
    bring_up(small_photo @ factors, small_photo, photo[:39, :59], band, out)
    assert np.abs(out - photo[:39, :59] @ factors)[band].max() < 0.01
    assert (out[~band] == 7).all()
