# mypy: allow-untyped-defs
"""All compiled loops of the lens: private loops over arrays that check nothing; their callers do.

Everything runs in one thread and releases the GIL, so that results cannot depend on the number of threads.
No `fastmath`: NaN must stay visible. Images are row-major float32; `planes` `[C,H,W]` hold premultiplied colour
and, last, alpha (or just colour where a layer is opaque everywhere).
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: alpha closer than this to 0 or 1 is taken as 0 or 1: the rounding of the Fourier transforms must not show
ROUNDING = 2e-6


@njit(cache=True, nogil=True)
def over_in_place(image, light, planes, y0, x0, opaque):
    """Lay `planes` behind what `image` holds, at offset (y0, x0): image += light * colour, light *= 1 - alpha."""
    height, width = planes.shape[1:]
    colours = image.shape[2]
    for y in range(height):
        for x in range(width):
            t = light[y0 + y, x0 + x]
            if t == 0.0:
                continue
            if opaque:
                for c in range(colours):
                    image[y0 + y, x0 + x, c] += t * planes[c, y, x]
                light[y0 + y, x0 + x] = 0.0
                continue
            a = planes[colours, y, x]
            if a < ROUNDING:
                continue
            for c in range(colours):
                value = planes[c, y, x]
                if value > 0.0:
                    image[y0 + y, x0 + x, c] += t * value
            light[y0 + y, x0 + x] = 0.0 if a > 1.0 - ROUNDING else t * (np.float32(1.0) - a)


@njit(cache=True, nogil=True)
def splat_tent(points, scale, slope_x, slope_y, kernel):
    """Add to `kernel` (odd size) each point's bilinear footprint, at scale * u / (1 + slope . u) from its middle."""
    middle = kernel.shape[0] // 2
    for i in range(points.shape[0]):
        u, v = points[i, 0], points[i, 1]
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
    for y in range(height):
        for x in range(width):
            r = radius[y0 + y, x0 + x]
            if r <= below or r >= above:
                continue
            weight = (r - below) * rise if r < here else (above - r) * fall
            if r == here:
                weight = np.float32(1.0)
            total[y0 + y, x0 + x] += np.float32(weight) * blurred[y, x]


@njit(cache=True, nogil=True)
def copy_sharp(total, plane, radius, invisible):
    """Copy the layer's own pixels where the radius is too small to be seen."""
    height, width = plane.shape
    for y in range(height):
        for x in range(width):
            if abs(radius[y, x]) < invisible:
                total[y, x] = plane[y, x]


@njit(cache=True, nogil=True)
def trace_flat(
    planes, oy, ox, reduced, run_y, run_x, run_n, run_start, step, radius, points, light, together, mean, place
):
    """Send the rays of runs of nodes through one flat layer; nearer layers have been through before.

    `planes` `[C,h,w]` is the layer reduced `reduced` times; its pixel [0, 0] starts at the full-size pixel (oy, ox).
    Run j is `run_n[j]` nodes from the full-size pixel (run_y, run_x), `step` apart; its nodes are numbered from
    `run_start`. Ray i of that run has `light[run_start * rays + i * n + k]` left at node k. `together[half, c, node]`
    gathers light times colour, `mean[half, c, node]` the layer's own colour and alpha, by halves (even and odd rays).
    `place`: 0 the nearest layer (all light is there), 1 one between, 2 the last (light need not be kept).
    `step` must be a multiple of `reduced`. Outside `planes` the edge pixels repeat.
    """
    channels, height, width = planes.shape
    colours = together.shape[1]
    rays = points.shape[0]
    stride = step // reduced
    opaque = channels == colours
    one = np.float32(1.0)
    for j in range(run_y.shape[0]):
        n = run_n[j]
        start = run_start[j]
        base_y = (run_y[j] - oy + 0.5) / reduced - 0.5
        base_x = (run_x[j] - ox + 0.5) / reduced - 0.5
        for i in range(rays):
            half = i % 2
            fy = min(max(base_y - radius / reduced * points[i, 1], 0.0), height - 1.0)
            fx = base_x - radius / reduced * points[i, 0]
            y = int(fy)
            below = min(y + 1, height - 1)
            x = int(np.floor(fx))
            wy = fy - y
            wx = fx - x
            w11 = np.float32(wy * wx)
            w10 = np.float32(wy * (1.0 - wx))
            w01 = np.float32((1.0 - wy) * wx)
            w00 = np.float32((1.0 - wy) * (1.0 - wx))
            inside = x >= 0 and x + stride * (n - 1) + 1 <= width - 1
            t = light[start * rays + i * n : start * rays + i * n + n]
            for c in range(channels):
                upper = planes[c, y]
                lower = planes[c, below]
                own = mean[half, c, start : start + n]
                if inside and stride == 1:
                    u0 = upper[x : x + n]
                    u1 = upper[x + 1 : x + 1 + n]
                    l0 = lower[x : x + n]
                    l1 = lower[x + 1 : x + 1 + n]
                    if c == colours:
                        if place == 0:
                            for k in range(n):
                                value = w00 * u0[k] + w01 * u1[k] + w10 * l0[k] + w11 * l1[k]
                                own[k] += value
                                t[k] = one - value
                        else:
                            for k in range(n):
                                value = w00 * u0[k] + w01 * u1[k] + w10 * l0[k] + w11 * l1[k]
                                own[k] += value
                                t[k] *= one - value
                    elif place == 0:
                        for k in range(n):
                            own[k] += w00 * u0[k] + w01 * u1[k] + w10 * l0[k] + w11 * l1[k]
                    else:
                        gathered = together[half, c, start : start + n]
                        for k in range(n):
                            value = w00 * u0[k] + w01 * u1[k] + w10 * l0[k] + w11 * l1[k]
                            own[k] += value
                            gathered[k] += t[k] * value
                    continue
                gathered = together[half, min(c, colours - 1), start : start + n]
                for k in range(n):
                    xa = min(max(x + stride * k, 0), width - 1)
                    xb = min(max(x + stride * k + 1, 0), width - 1)
                    value = w00 * upper[xa] + w01 * upper[xb] + w10 * lower[xa] + w11 * lower[xb]
                    own[k] += value
                    if c == colours:
                        t[k] = one - value if place == 0 else t[k] * (one - value)
                    elif place != 0:
                        gathered[k] += t[k] * value
            if opaque and place != 2:
                t[:] = 0.0


@njit(cache=True, nogil=True)
def trace_tilted(
    planes,
    oy,
    ox,
    reduced,
    run_y,
    run_x,
    run_n,
    run_start,
    step,
    radius,
    slope_x,
    slope_y,
    behind,
    ahead,
    light,
    together,
    mean,
    place,
):
    """As `trace_flat` for a layer whose radius (and its slopes, px per px) differs from node to node."""
    channels, height, width = planes.shape
    colours = together.shape[1]
    rays = behind.shape[0]
    opaque = channels == colours
    one = np.float32(1.0)
    top = np.float32(height - 1)
    right = np.float32(width - 1)
    for j in range(run_y.shape[0]):
        n = run_n[j]
        start = run_start[j]
        base_y = np.float32((run_y[j] - oy + 0.5) / reduced - 0.5)
        for k in range(n):
            node = start + k
            base_x = np.float32((run_x[j] + k * step - ox + 0.5) / reduced - 0.5)
            r = np.float32(radius[node] / reduced)
            gx = slope_x[node]
            gy = slope_y[node]
            points = behind if r > 0.0 else ahead
            for i in range(rays):
                half = i % 2
                u = points[i, 0]
                v = points[i, 1]
                reach = r / (one + gx * u + gy * v)
                fy = min(max(base_y - reach * v, np.float32(0.0)), top)
                fx = min(max(base_x - reach * u, np.float32(0.0)), right)
                y = int(fy)
                x = int(fx)
                wy = fy - np.float32(y)
                wx = fx - np.float32(x)
                below = min(y + 1, height - 1)
                beside = min(x + 1, width - 1)
                w11 = wy * wx
                w10 = wy - w11
                w01 = wx - w11
                w00 = one - wy - w01
                where = start * rays + i * n + k
                t = one if place == 0 else light[where]
                for c in range(colours):
                    value = w00 * planes[c, y, x] + w01 * planes[c, y, beside]
                    value += w10 * planes[c, below, x] + w11 * planes[c, below, beside]
                    mean[half, c, node] += value
                    together[half, c, node] += t * value
                if opaque:
                    light[where] = 0.0
                else:
                    value = w00 * planes[colours, y, x] + w01 * planes[colours, y, beside]
                    value += w10 * planes[colours, below, x] + w11 * planes[colours, below, beside]
                    mean[half, colours, node] += value
                    light[where] = t * (one - value)


@njit(cache=True, nogil=True)
def add_nodes(image, nodes, step):
    """Add `nodes` `[rows, columns, C]`, which stand on every `step`-th pixel each way, by cubic interpolation."""
    rows, columns, channels = nodes.shape
    height, width = image.shape[:2]
    weights = np.empty((step, 4), np.float32)
    for k in range(step):
        t = k / step
        weights[k, 0] = -0.5 * t + t * t - 0.5 * t * t * t
        weights[k, 1] = 1.0 - 2.5 * t * t + 1.5 * t * t * t
        weights[k, 2] = 0.5 * t + 2.0 * t * t - 1.5 * t * t * t
        weights[k, 3] = -0.5 * t * t + 0.5 * t * t * t
    busy = np.zeros(columns, np.bool_)
    line = np.zeros((columns, channels), np.float32)
    for y in range(height):
        row = y // step
        wy = weights[y % step]
        busy[:] = False
        line[:] = 0.0
        some = False
        for j in range(4):
            if wy[j] == 0.0:
                continue
            yy = min(max(row - 1 + j, 0), rows - 1)
            for x in range(columns):
                for c in range(channels):
                    value = nodes[yy, x, c]
                    if value != 0.0:
                        line[x, c] += wy[j] * value
                        busy[x] = True
                        some = True
        if not some:
            continue
        for x in range(width):
            column = x // step
            first = max(column - 1, 0)
            second = min(column + 1, columns - 1)
            third = min(column + 2, columns - 1)
            if not (busy[first] or busy[column] or busy[second] or busy[third]):
                continue
            wx = weights[x % step]
            for c in range(channels):
                image[y, x, c] += (
                    wx[0] * line[first, c] + wx[1] * line[column, c] + wx[2] * line[second, c] + wx[3] * line[third, c]
                )
