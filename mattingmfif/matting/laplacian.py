"""The matting Laplacian over a band of unknown pixels: solved exactly where it is small, relaxed where it is large.

Notation: L = sum over 3 x 3 windows w of  G' G, where for pixels i, j of w

    L_ij = delta_ij - (1 + (I_i - mu)' (Sigma + eps / 9 Id)^-1 (I_j - mu)) / 9 .

U are the unknown pixels, K the known ones; the fractions x of a subject solve  L_UU x_U = -L_UK x_K.

Source: A. Levin, D. Lischinski, Y. Weiss, "A closed-form solution to natural image matting", TPAMI 2008, equation 12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

from mattingmfif.pixels.colour import Float32

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: a trace of identity: windows of one flat colour leave the null space of constants open within an island
_TRACE = 1e-10
_MANY_STEPS = 1000
#: what is added to the variances of the photo (0..1) where a coarse solution takes up its detail
_GUIDE_EPSILON = 5e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """L at n unknown pixels of a picture: `stencils` `[n,25]` as in `kernels`, and where they are in padded planes."""

    stencils: npt.NDArray[np.floating]
    position: npt.NDArray[np.int64]  # [n], in a flat padded plane
    number: npt.NDArray[np.int32]  # [H + 4, W + 4]: the place in this list, or -1

    @property
    def width(self) -> int:
        """Of a padded plane."""
        return self.number.shape[1]

    def applied_to(self, padded: Float32) -> Float32:
        """L `padded` `[H+4,W+4]` at the unknown pixels, `[n]`."""
        from mattingmfif.matting.kernels import apply_stencils

        out = np.empty(self.position.size, np.float32)
        apply_stencils(self.stencils, self.position, self.width, padded.reshape(-1), out)
        return out


def band_of(photo: Float32, unknown: Mask, epsilon: float, dtype: type[np.floating] = np.float32) -> Band:
    """The Laplacian of a photo `[H,W,3]` (each side at least 3 px) at its `unknown` pixels `[H,W]`."""
    from mattingmfif.matting.kernels import PAD_PX, REACH, add_windows

    position = np.flatnonzero(np.pad(unknown, PAD_PX))
    number = np.full((unknown.shape[0] + 2 * PAD_PX, unknown.shape[1] + 2 * PAD_PX), -1, np.int32)
    number.reshape(-1)[position] = np.arange(position.size, dtype=np.int32)
    touched = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    rows, columns = np.nonzero(touched)
    stencils = np.zeros((position.size, REACH), dtype)
    add_windows(np.ascontiguousarray(photo, np.float32), number, rows + 1, columns + 1, epsilon, stencils)
    return Band(stencils=stencils, position=position, number=number)


def solve_exactly(band: Band, planes: list[Float32]) -> None:
    """Fill the unknown pixels of `planes` `[H,W]`, in place, from their known ones: one factorisation for all."""
    from mattingmfif.matting.kernels import PAD_PX, REACH, system_of

    n = band.position.size
    counts, columns, values = np.zeros(n, np.int64), np.empty(n * REACH, np.int32), np.empty(n * REACH)
    used = system_of(band.stencils, band.position, band.number.reshape(-1), band.width, counts, columns, values)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    system = sparse.csc_matrix((values[:used], columns[:used], pointers), shape=(n, n))  # symmetric: rows are columns
    system = system + _TRACE * sparse.identity(n, format="csc")
    inner = (slice(PAD_PX, -PAD_PX),) * 2
    unknown = band.number[inner] >= 0
    sides = []
    for plane in planes:
        padded = np.pad(np.where(unknown, np.float32(0), plane), PAD_PX)
        sides.append(-band.applied_to(padded).astype(np.float64))
    wanted = [k for k, side in enumerate(sides) if np.abs(side).max(initial=0.0) >= 1e-14]
    for plane in planes:
        plane[unknown] = 0.0  # a zero side has the solution zero
    if wanted:
        factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        solution = factors.solve(np.stack([sides[k] for k in wanted], axis=1))
        for k, column in zip(wanted, solution.T, strict=True):
            if np.isfinite(column).all():
                planes[k][unknown] = np.clip(column, 0.0, 1.0)
            else:  # a matrix too near to singular for elimination
                relax(replace(band, stencils=band.stencils.copy()), planes[k], _MANY_STEPS)


def solve_paths(photo: Float32, unknown: Mask, planes: list[Float32]) -> None:
    """The same for pictures one or two pixels wide, which hold no window: neighbours alike in colour are alike."""
    numbers = np.arange(unknown.size).reshape(unknown.shape)
    pairs = [(numbers[:, :-1].ravel(), numbers[:, 1:].ravel()), (numbers[:-1].ravel(), numbers[1:].ravel())]
    a, b = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    flat = photo.reshape(-1, 3).astype(np.float64)
    weight = np.exp(-((flat[a] - flat[b]) ** 2).sum(axis=1) / 0.01) + 1e-3
    shape = (unknown.size, unknown.size)
    adjacency = sparse.coo_matrix((np.r_[weight, weight], (np.r_[a, b], np.r_[b, a])), shape=shape).tocsr()
    laplacian = sparse.csc_matrix(sparse.diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency)
    index, known = np.flatnonzero(unknown), np.flatnonzero(~unknown)
    factors = splu((laplacian[index][:, index] + _TRACE * sparse.identity(index.size)).tocsc())
    for plane in planes:
        values = plane.ravel()[known].astype(np.float64)
        plane[unknown] = np.clip(factors.solve(-(laplacian[index][:, known] @ values)), 0.0, 1.0)


def relax(band: Band, plane: Float32, steps: int) -> None:
    """Bring the unknown pixels of `plane` `[H,W]`, in place, nearer to the solution by steps of conjugate gradients.

    What it starts from decides the large scales, which few steps hardly move; the steps settle the small ones. The
    band serves once: its stencils are scaled in place, because a second set of them would double the memory.
    """
    from mattingmfif.matting.kernels import PAD_PX, conjugate_gradients

    padded = np.pad(plane, PAD_PX)
    residual = -band.applied_to(padded)
    x = padded.reshape(-1)[band.position]
    work, more = np.zeros_like(padded).reshape(-1), np.zeros_like(padded).reshape(-1)
    conjugate_gradients(band.stencils, band.position, band.width, residual, x, work, more, steps)
    plane[band.number[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX] >= 0] = np.clip(x, 0.0, 1.0)


def bring_up(small: Float32, small_photo: Float32, photo: Float32, band: Mask, out: Float32) -> None:
    """Write into `out` `[H,W]`, where `band`, a solution at half the size, with the detail of the photo `[H,W,3]`.

    Near each cell the solution is a linear function of the photo's colour (K. He et al., "Guided image filtering",
    TPAMI 2013, equations 14 to 16, on windows of 3 x 3 cells); at full size that function sees the full detail.
    """
    from mattingmfif.matting.kernels import fit_lines, follow_lines, mean_lines

    cells = np.zeros(small.shape, np.uint8)
    for dy in (0, 1):
        for dx in (0, 1):
            part = band[dy::2, dx::2]
            cells[: part.shape[0], : part.shape[1]] |= part
    lines, means = np.empty((2, *small.shape, 4), np.float32)  # only what is written is read
    rows, columns = np.nonzero(cv2.dilate(cells, np.ones((5, 5), np.uint8)))
    fit_lines(small_photo, small, rows, columns, _GUIDE_EPSILON, lines)
    rows, columns = np.nonzero(cv2.dilate(cells, np.ones((3, 3), np.uint8)))
    mean_lines(lines, rows, columns, means)
    rows, columns = np.nonzero(band)
    follow_lines(means, photo, rows, columns, out)
