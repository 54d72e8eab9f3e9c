# mypy: allow-untyped-defs
"""The compiled loops of blurring and compositing (those of rays: `ray_kernels`): they check nothing; their callers do.

Everything runs in one thread and releases the GIL, so that results cannot depend on the number of threads.
No `fastmath`: NaN must stay visible. Images are row-major float32; `planes` `[C,H,W]` hold premultiplied colour
and, last, alpha (or just colour where a layer is opaque everywhere).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numba import njit
from numba.core import event

#: alpha closer than this to 0 or 1 is taken as 0 or 1: the rounding of the Fourier transforms must not show
ROUNDING = np.float32(2e-6)


def limit_threads(count: int) -> int:
    """Let parallel loops that this thread begins (pymatting's; there are none here) use `count`; what it was before."""
    before: int = numba.get_num_threads()
    numba.set_num_threads(count)
    return before


class _CompileTimer(event.Listener):  # type: ignore[misc]
    """Counts the CPU-seconds of this thread from the first compilation that begins to the last that ends."""

    def __init__(self) -> None:
        self.cpu_s, self._depth, self._began = 0.0, 0, 0.0

    def on_start(self, event: object) -> None:
        """One begins, maybe inside another."""
        if self._depth == 0:
            self._began = time.thread_time()
        self._depth += 1

    def on_end(self, event: object) -> None:
        """One ends."""
        self._depth -= 1
        if self._depth == 0:
            self.cpu_s += time.thread_time() - self._began


@contextmanager
def compile_timer() -> Iterator[_CompileTimer]:
    """Inside the block, `cpu_s` grows by what compiling takes, that of other packages' loops as well."""
    timer = _CompileTimer()
    with event.install_listener("numba:compile", timer):
        yield timer


@njit(cache=True, nogil=True)
def over_in_place(image, light, planes, y0, x0, opaque):
    """Lay `planes` behind what `image` holds, at offset (y0, x0): image += light * colour, light *= 1 - alpha."""
    height, width = planes.shape[1:]
    colours = image.shape[2]
    nothing = np.float32(0.0)
    one = np.float32(1.0)
    for y in range(height):
        t = light[y0 + y, x0 : x0 + width]
        into = image[y0 + y, x0 : x0 + width]
        if opaque:
            if colours == 3:
                red, green, blue = planes[0, y], planes[1, y], planes[2, y]
                for x in range(width):
                    into[x, 0] += t[x] * red[x]
                    into[x, 1] += t[x] * green[x]
                    into[x, 2] += t[x] * blue[x]
            else:
                for c in range(colours):
                    colour = planes[c, y]
                    for x in range(width):
                        into[x, c] += t[x] * colour[x]
            t[:] = nothing
            continue
        alpha = planes[colours, y]
        if colours == 3:
            red, green, blue = planes[0, y], planes[1, y], planes[2, y]
            for x in range(width):
                own = t[x] if alpha[x] >= ROUNDING else nothing
                into[x, 0] += own * max(red[x], nothing)
                into[x, 1] += own * max(green[x], nothing)
                into[x, 2] += own * max(blue[x], nothing)
        else:
            for c in range(colours):
                colour = planes[c, y]
                for x in range(width):
                    into[x, c] += t[x] * (max(colour[x], nothing) if alpha[x] >= ROUNDING else nothing)
        for x in range(width):
            a = alpha[x] if alpha[x] >= ROUNDING else nothing
            t[x] = nothing if a > one - ROUNDING else t[x] * (one - a)


@njit(cache=True, nogil=True)
def splat_tent(points, rim_x, rim_y, cut, scale, slope_x, slope_y, kernel):
    """Add to `kernel` (odd size) each point's bilinear footprint, at scale * u / (1 + slope . u) from its middle.

    With `cut`, points farther than 1 from (rim_x, rim_y) are left out.
    """
    middle = kernel.shape[0] // 2
    one = np.float32(1.0)
    for i in range(points.shape[0]):
        u, v = points[i, 0], points[i, 1]
        if cut and (u - rim_x) * (u - rim_x) + (v - rim_y) * (v - rim_y) > one:
            continue
        reach = scale / (1.0 + slope_x * u + slope_y * v)
        fx = middle + reach * u
        fy = middle + reach * v
        x = int(np.floor(fx))
        y = int(np.floor(fy))
        fx -= x
        fy -= y
        kernel[y, x] += (1.0 - fy) * (1.0 - fx)
        kernel[y, x + 1] += (1.0 - fy) * fx
        kernel[y + 1, x] += fy * (1.0 - fx)
        kernel[y + 1, x + 1] += fy * fx


@njit(cache=True, nogil=True)
def add_level(total, blurred, radius, y0, x0, below, here, above):
    """Add the plane `blurred`, placed at (y0, x0), where the radius is near `here`: weight 1 there, 0 at neighbours."""
    height, width = blurred.shape
    rise = np.float32(1.0 / (here - below))
    fall = np.float32(1.0 / (above - here))
    first = np.float32(below)
    last = np.float32(above)
    nothing = np.float32(0.0)
    for y in range(height):
        r = radius[y0 + y, x0 : x0 + width]
        sum_row = total[y0 + y, x0 : x0 + width]
        level_row = blurred[y]
        for x in range(width):  # no branches: this becomes vector code
            weight = max(min((r[x] - first) * rise, (last - r[x]) * fall), nothing)
            sum_row[x] += weight * level_row[x]


@njit(cache=True, nogil=True)
def copy_sharp(total, plane, radius, invisible):
    """Copy the layer's own pixels where the radius is too small to be seen."""
    height, width = plane.shape
    for y in range(height):
        for x in range(width):
            if abs(radius[y, x]) < invisible:
                total[y, x] = plane[y, x]


@njit(cache=True, nogil=True)
def mark_varying(varies, light, alpha, y0, x0, least, most):
    """Set `varies` where light is left and the blurred `alpha`, placed at (y0, x0), lies between `least` and `most`."""
    height, width = alpha.shape
    for y in range(height):
        for x in range(width):
            if least < alpha[y, x] < most and light[y0 + y, x0 + x] > 0.0:
                varies[y0 + y, x0 + x] = True
