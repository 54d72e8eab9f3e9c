"""Closed-form alpha matting on the unknown band, solved at reduced size and brought up jointly with the photograph.

Notation: the matting Laplacian L = sum over 3 x 3 windows w of  G' G, where for pixels i, j of w

    L_ij = delta_ij - (1 + (I_i - mu)' (Sigma + eps / 9 Id)^-1 (I_j - mu)) / 9 .

U are the unknown pixels, K the known ones; the fractions x of a subject solve  L_UU x_U = -L_UK x_K. All subjects share
L, so K subjects cost one factorisation and their fractions, with the background's, sum to one.

Source: A. Levin, D. Lischinski, Y. Weiss, "A closed-form solution to natural image matting", TPAMI 2008, equation 12.
At 4K the 3 x 3 windows carry information badly across a wide band; the reduced solve has the reach, and the guided
filter's coefficients carry the detail.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import splu

from mattingmfif.matting.trimap import UNKNOWN, Labels, grow_unsettled, labels_from_trimap
from mattingmfif.matting.windows import Window, window_of
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.guided import apply_coefficients, guided_coefficients
from mattingmfif.pixels.planes import zeros_where_untouched

Float64 = npt.NDArray[np.float64]

LAPLACIAN_EPSILON = 1e-7
_GUIDE_RADIUS_PX, _GUIDE_EPSILON = 1, 1e-5
_TOLERANCE, _MAX_ITERATIONS = 1e-7, 3000
_MAX_FILL_PER_ROW = 220
#: unknowns for which a photo is solved at a finer scale than asked for
_AFFORDED_UNKNOWNS = 50_000
#: unknowns up to which the exact factorisation is fastest and fits into a few hundred MB
_MAX_DIRECT = 250_000


def estimate_alpha(
    photo_srgb: Float32,
    trimap: npt.NDArray[np.generic],
    *,
    solve_long_side_px: int = 960,
    full_solve_long_side_px: int = 2000,
) -> Float32:
    """Alpha `[H,W]` float32, 0..1, of a photograph `[H,W,3]` (sRGB 0..1) and a trimap 0 / 0.5 / 1 or 0 / 128 / 255.

    Known pixels come back as exactly 0 or 1. A trimap without known foreground gives 0 in its band, one without known
    background gives 1. Raises ValueError where the sizes differ or values are not finite.
    """
    return solve_fractions(
        photo_srgb,
        labels_from_trimap(trimap),
        1,
        solve_long_side_px=solve_long_side_px,
        full_solve_long_side_px=full_solve_long_side_px,
    )[0]


def solve_fractions(
    photo_srgb: Float32,
    labels: Labels,
    subjects: int,
    *,
    solve_long_side_px: int = 960,
    full_solve_long_side_px: int = 2000,
    grow_rounds: int = 0,
    grow_reach_px: float = 32.0,
) -> list[Float32]:
    """The fractions `[H,W]` of `subjects` subjects, each 0..1, summing (with the background's) to one.

    `labels` as in `trimap`: 0 background, 1.. subjects, -1 unknown. `grow_rounds` times the band is widened by
    `grow_reach_px` around places where the reduced solution is not settled at the band's border.
    """
    if photo_srgb.shape[:2] != labels.shape or photo_srgb.ndim != 3:
        raise ValueError(f"photo {photo_srgb.shape} and trimap {labels.shape} differ in size")
    unknown = labels == UNKNOWN
    if not unknown.any():
        return [_where_labelled(labels, k) for k in range(1, subjects + 1)]
    long_side = max(labels.shape)
    scale = max(1, round(long_side / solve_long_side_px))
    # a narrow band leaves room for a finer solution at the same cost
    scale = min(scale, max(2, int(np.ceil(np.sqrt(int(unknown.sum()) / _AFFORDED_UNKNOWNS)))))
    full = long_side <= full_solve_long_side_px or scale == 1
    margin = round(grow_rounds * (grow_reach_px + 2)) + 8 * scale
    window = window_of(unknown, margin, 2 * scale)
    photo, cropped = photo_srgb[window], labels[window]
    if not np.isfinite(photo).all():
        raise ValueError("the photograph holds NaN or infinite values")
    if grow_rounds:
        cropped = _grown(photo, cropped, subjects, 2 * scale, grow_rounds, grow_reach_px)
    if full:
        scale, small_photo = 1, photo
        solved = _solve(photo, cropped, subjects)
    else:
        small_photo, small_labels = _reduce(photo, cropped, scale)
        solved = _solve(small_photo, small_labels, subjects)
    fractions = []
    band = cropped == UNKNOWN
    for k, small in enumerate(solved, start=1):
        inside = (cropped == k).astype(np.float32)
        if scale == 1:
            inside[band] = small[band]
        else:
            _bring_up(inside, band, small, small_photo, photo, scale)
        fraction = _where_labelled(labels, k)
        fraction[window] = inside
        fractions.append(fraction)
    _normalise(fractions, window)
    return fractions


def _where_labelled(labels: Labels, label: int) -> Float32:
    """1 where the label stands, else 0."""
    here = labels == label
    window = window_of(here, 0)
    plane = zeros_where_untouched(labels.shape)
    plane[window] = here[window]
    return plane


def _grown(photo: Float32, labels: Labels, subjects: int, scale: int, rounds: int, reach_px: float) -> Labels:
    """Labels with the band widened where a solution at 1/scale (it only decides) is not settled at its border."""
    small_photo, small_labels = _reduce(photo, labels, scale)
    for _ in range(rounds):
        solved = _solve(small_photo, small_labels, subjects)
        grown, unsettled = grow_unsettled(
            small_labels, solved, max(1.0, reach_px / scale), border_px=max(1.5, 12 / scale)
        )
        if unsettled * scale * scale < 2 * reach_px:  # a few pixels: no hair, but noise
            break
        small_labels = grown
        labels = _with_unknown_cells(labels, grown == UNKNOWN, scale)
    return labels


def _bring_up(
    out: Float32, band: npt.NDArray[np.bool_], small: Float32, small_photo: Float32, photo: Float32, scale: int
) -> None:
    """Write the reduced solution `small`, with the photo's detail, into the `band` of `out`."""
    active = cv2.dilate((small > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    cells = window_of(active, 2)
    if cells[0].stop == cells[0].start:
        return
    coefficients = guided_coefficients(small_photo[cells], small[cells], _GUIDE_RADIUS_PX, _GUIDE_EPSILON)
    part = (
        slice(cells[0].start * scale, min(cells[0].stop * scale, out.shape[0])),
        slice(cells[1].start * scale, min(cells[1].stop * scale, out.shape[1])),
    )
    detailed = _apply_padded(coefficients, photo[part], scale)
    here = band[part]
    out[part][here] = np.clip(detailed[here], 0.0, 1.0)


def _with_unknown_cells(labels: Labels, cells: npt.NDArray[np.bool_], scale: int) -> Labels:
    """Labels with the pixels of the given cells made unknown."""
    large = cv2.resize(cells.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    out = labels.copy()
    out[large[: labels.shape[0], : labels.shape[1]] > 0] = UNKNOWN
    return out


def _normalise(fractions: Sequence[Float32], window: Window) -> None:
    """Scale the fractions down, in place, where detail or clipping made them sum to more than one."""
    if len(fractions) == 1:
        return
    # the guided filter adds detail to each fraction by itself
    excess = np.maximum(np.sum([fraction[window] for fraction in fractions], axis=0), np.float32(1))
    for fraction in fractions:
        fraction[window] /= excess


def _reduce(photo: Float32, labels: Labels, scale: int) -> tuple[Float32, Labels]:
    """Photo averaged, and labels kept only where a whole cell agrees, at 1/scale (padded to whole cells)."""
    height, width = labels.shape
    pad_y, pad_x = -height % scale, -width % scale
    photo = cv2.copyMakeBorder(photo, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    padded = np.pad(labels, ((0, pad_y), (0, pad_x)), mode="edge")
    size = (photo.shape[1] // scale, photo.shape[0] // scale)
    cells = padded.reshape(size[1], scale, size[0], scale)
    low, high = cells.min(axis=(1, 3)), cells.max(axis=(1, 3))
    small_photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small_photo, np.float32), np.where(low == high, low, UNKNOWN).astype(np.int16)


def _apply_padded(coefficients: Float32, photo: Float32, scale: int) -> Float32:
    height, width = photo.shape[:2]
    full = (coefficients.shape[1] * scale, coefficients.shape[0] * scale)
    if full == (width, height):
        return apply_coefficients(coefficients, photo)
    large = cv2.resize(coefficients, full, interpolation=cv2.INTER_LINEAR)[:height, :width]
    return apply_coefficients(np.ascontiguousarray(large), photo)


def _solve(photo: Float32, labels: Labels, subjects: int) -> list[Float32]:
    """The fractions at the size given; islands of the band that touch no known pixel of a subject get none of it."""
    unknown = labels == UNKNOWN
    out = [(labels == k).astype(np.float32) for k in range(1, subjects + 1)]
    present = [k for k in range(subjects + 1) if (labels == k).any()]
    if len(present) <= 1:  # nothing to interpolate between: the whole band is of the one kind there is
        for k in range(1, subjects + 1):
            out[k - 1][unknown] = 1.0 if present == [k] else 0.0
        return out
    laplacian = _laplacian(photo.astype(np.float64), unknown)
    index = np.flatnonzero(unknown.ravel())
    known = np.flatnonzero(~unknown.ravel())
    rows = laplacian[index]
    # a trace of identity: windows of one flat colour leave the null space of constants open within an island
    system = (rows[:, index] + 1e-10 * sparse.identity(len(index))).tocsr()
    coupling = rows[:, known]
    sides = -np.stack(
        [coupling @ (labels.ravel()[known] == k).astype(np.float64) for k in range(1, subjects + 1)], axis=1
    )
    for k, solution in enumerate(_solve_system(system, sides).T):
        out[k].ravel()[index] = np.clip(solution, 0.0, 1.0)
    return out


def _solve_system(system: sparse.csr_matrix, sides: Float64) -> Float64:
    """X of `system` X = `sides` `[n,K]`: by one exact factorisation, or iteratively where it would fill in too much."""
    solution = np.zeros_like(sides)
    wanted = np.flatnonzero(np.abs(sides).max(axis=0, initial=0.0) >= 1e-14)  # a zero side has the solution zero
    if not wanted.size:
        return solution
    if system.shape[0] <= _MAX_DIRECT:
        factors = splu(
            system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        direct = factors.solve(sides[:, wanted])
        if np.isfinite(direct).all():
            solution[:, wanted] = direct
            return solution
    order = reverse_cuthill_mckee(system, symmetric_mode=True)  # a narrow band of entries halves the fill-in
    ordered = system[order][:, order].tocsr()
    precondition = _preconditioner(ordered)
    for k in wanted:
        solution[order, k] = _conjugate_gradients(ordered, sides[order, k], precondition)
    return solution


def _laplacian(photo: Float64, unknown: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """The matting Laplacian `[n,n]` over the windows that hold an unknown pixel (rows of known pixels are partial)."""
    height, width = unknown.shape
    n = height * width
    if height < 3 or width < 3:
        return _path_laplacian(photo, height, width)
    touched = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    centre_y, centre_x = np.nonzero(touched)
    centre = (centre_y + 1) * width + centre_x + 1
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    flat = photo.reshape(n, 3)
    pixels = np.stack([flat[centre + dy * width + dx] for dy, dx in offsets], axis=1)
    pixels -= pixels.mean(axis=1, keepdims=True)
    covariance = np.einsum("wic,wid->wcd", pixels, pixels) / 9.0
    covariance += np.eye(3) * (LAPLACIAN_EPSILON / 9.0)
    affinity = (1.0 + np.einsum("wic,wcd,wjd->wij", pixels, np.linalg.inv(covariance), pixels, optimize=True)) / 9.0
    stencil = np.zeros((25, n))  # entry [5 (dy + 2) + dx + 2, p] is L between p and p + (dy, dx)
    for i, (iy, ix) in enumerate(offsets):
        at = centre + iy * width + ix
        for j, (jy, jx) in enumerate(offsets):
            stencil[5 * (jy - iy + 2) + jx - ix + 2, at] -= affinity[:, i, j]
        stencil[12, at] += 1.0
    return _from_stencil(stencil, width, n)


def _from_stencil(stencil: Float64, width: int, n: int) -> sparse.csr_matrix:
    used = np.flatnonzero(stencil[12] != 0)
    shift = np.array([dy * width + dx for dy in range(-2, 3) for dx in range(-2, 3)])
    values = stencil[:, used].T
    columns = np.clip(used[:, None] + shift, 0, n - 1)  # entries outside the picture are zero
    counts = np.zeros(n + 1, np.int64)
    counts[used + 1] = 25
    matrix = sparse.csr_matrix((values.ravel(), columns.ravel(), np.cumsum(counts)), shape=(n, n))
    matrix.eliminate_zeros()
    return matrix


def _path_laplacian(photo: Float64, height: int, width: int) -> sparse.csr_matrix:
    """For pictures one or two pixels wide, which hold no window: neighbours alike in colour are alike in alpha."""
    n = height * width
    numbers = np.arange(n).reshape(height, width)
    pairs = [(numbers[:, :-1].ravel(), numbers[:, 1:].ravel()), (numbers[:-1].ravel(), numbers[1:].ravel())]
    a, b = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    flat = photo.reshape(n, 3)
    weight = np.exp(-((flat[a] - flat[b]) ** 2).sum(axis=1) / 0.01) + 1e-3
    adjacency = sparse.coo_matrix((np.r_[weight, weight], (np.r_[a, b], np.r_[b, a])), shape=(n, n)).tocsr()
    return sparse.csr_matrix(sparse.diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency)


def _preconditioner(system: sparse.csr_matrix) -> Callable[[Float64], Float64]:
    """Incomplete Cholesky; with a coarser threshold, then the plain diagonal, where it fills in too much."""
    from pymatting.preconditioner import ichol  # imported here: the first import compiles for half a minute

    n = system.shape[0]
    columns = system.tocsc()
    columns.sort_indices()
    for threshold in (1e-4, 1e-3):
        with contextlib.suppress(ValueError), contextlib.redirect_stdout(io.StringIO()):  # it prints its warnings
            solve: Callable[[Float64], Float64] = ichol(
                columns, discard_threshold=threshold, max_nnz=_MAX_FILL_PER_ROW * n + 1000
            )
            return solve
    inverse = 1.0 / np.maximum(system.diagonal(), 1e-12)
    return lambda residual: inverse * residual


def _conjugate_gradients(
    system: sparse.csr_matrix, right: Float64, precondition: Callable[[Float64], Float64]
) -> Float64:
    """The solution of `system` x = `right` (symmetric, positive definite), to a relative residual of 1e-7."""
    x = np.zeros_like(right)
    residual = right.copy()
    goal = _TOLERANCE * float(np.linalg.norm(right))
    z = precondition(residual)
    direction = z.copy()
    rz = float(residual @ z)
    for _ in range(_MAX_ITERATIONS):
        if np.linalg.norm(residual) <= goal or rz == 0.0:
            break
        product = system @ direction
        curvature = float(direction @ product)
        if not curvature > 0.0:  # rounding has used up what the matrix can tell
            break
        step = rz / curvature
        x += step * direction
        residual -= step * product
        z = precondition(residual)
        rz, previous = float(residual @ z), rz
        direction = z + (rz / previous) * direction
    return x
