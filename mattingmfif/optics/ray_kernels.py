# mypy: allow-untyped-defs
"""The compiled loops of `interaction`: rays through varying mattes at nodes, and nodes into the picture.

As in `kernels`: they check nothing, run in one thread and release the GIL; no `fastmath`.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def trace_runs(
    planes, oy, ox, reduced, run_y, run_x, run_n, run_start, step, radius, slope_x, slope_y, behind, ahead, light,
    together, mean, place,
):  # fmt: skip
    """Send the rays of runs of nodes through one layer; nearer layers have been through before.

    `planes` `[C,h,w]` is the layer reduced `reduced` times; its pixel [0, 0] starts at the full-size pixel (oy, ox).
    Run j is `run_n[j]` nodes from the full-size pixel (run_y, run_x), `step` apart; its nodes are numbered from
    `run_start`, and its blur radius and the slopes of the radius (px per px) are the same for all of them. Ray i of
    that run has `light[run_start * rays + i * n + k]` left at node k. `together[half, c, node]` gathers light times
    colour, `mean[half, c, node]` the layer's own colour and alpha, by halves (even and odd rays). `behind` and
    `ahead` are the rays of positive and negative radii.
    `place`: 0 the nearest layer (all light is there, so its colours covary with nothing and are left out), 1 one
    between, 2 the last (light need not be kept).
    `step` must be a multiple of `reduced`. Outside `planes` the edge pixels repeat.
    """
    channels, height, width = planes.shape
    colours = together.shape[1]
    rays = behind.shape[0]
    stride = step // reduced
    opaque = channels == colours
    one = np.float32(1.0)
    for j in range(run_y.shape[0]):
        n = run_n[j]
        start = run_start[j]
        wide = stride * (n - 1) + 2  # pixels of a row that the nodes of the run look at
        base_y = (run_y[j] - oy + 0.5) / reduced - 0.5
        base_x = (run_x[j] - ox + 0.5) / reduced - 0.5
        points = behind if radius[j] > 0.0 else ahead
        padded = np.empty((2, wide), np.float32)
        for i in range(rays):
            half = i % 2
            reach = radius[j] / reduced / (1.0 + slope_x[j] * points[i, 0] + slope_y[j] * points[i, 1])
            fy = min(max(base_y - reach * points[i, 1], 0.0), height - 1.0)
            fx = base_x - reach * points[i, 0]
            y = int(fy)
            below = min(y + 1, height - 1)
            x = int(np.floor(fx))
            wy = fy - y
            wx = fx - x
            w11 = np.float32(wy * wx)
            w10 = np.float32(wy * (1.0 - wx))
            w01 = np.float32((1.0 - wy) * wx)
            w00 = np.float32((1.0 - wy) * (1.0 - wx))
            inside = x >= 0 and x + wide <= width
            t = light[start * rays + i * n : start * rays + i * n + n]
            for c in range(colours if place == 0 else 0, channels):
                if inside:
                    upper = planes[c, y, x : x + wide]
                    lower = planes[c, below, x : x + wide]
                else:
                    for k in range(wide):
                        xk = min(max(x + k, 0), width - 1)
                        padded[0, k] = planes[c, y, xk]
                        padded[1, k] = planes[c, below, xk]
                    upper = padded[0]
                    lower = padded[1]
                own = mean[half, c, start : start + n]
                if c < colours:
                    gathered = together[half, c, start : start + n]
                    if stride == 1:  # neighbouring nodes are neighbouring pixels: these loops become vector code
                        for k in range(n):
                            value = w00 * upper[k] + w01 * upper[k + 1] + w10 * lower[k] + w11 * lower[k + 1]
                            own[k] += value
                            gathered[k] += t[k] * value
                    else:
                        for k in range(n):
                            q = stride * k
                            value = w00 * upper[q] + w01 * upper[q + 1] + w10 * lower[q] + w11 * lower[q + 1]
                            own[k] += value
                            gathered[k] += t[k] * value
                elif place == 0:
                    for k in range(n):
                        q = stride * k
                        value = w00 * upper[q] + w01 * upper[q + 1] + w10 * lower[q] + w11 * lower[q + 1]
                        own[k] += value
                        t[k] = one - value
                elif stride == 1:
                    for k in range(n):
                        value = w00 * upper[k] + w01 * upper[k + 1] + w10 * lower[k] + w11 * lower[k + 1]
                        own[k] += value
                        t[k] *= one - value
                else:
                    for k in range(n):
                        q = stride * k
                        value = w00 * upper[q] + w01 * upper[q + 1] + w10 * lower[q] + w11 * lower[q + 1]
                        own[k] += value
                        t[k] *= one - value
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
    """As `trace_runs` for a layer whose radius and slopes differ from node to node."""
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
                for c in range(0 if place > 0 else colours, colours):
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
def add_nodes(image, nodes, step, where, least):
    """Add `nodes` `[rows, columns, C]`, which stand on every `step`-th pixel each way, by cubic interpolation.

    Only pixels of the mask `where` `[H,W]` are touched (an empty mask: all), and they do not fall below `least`.
    """
    rows, columns, channels = nodes.shape
    height, width = image.shape[:2]
    masked = where.size > 0
    if step == 1:
        for y in range(height):
            for x in range(width):
                if masked and not where[y, x]:
                    continue
                for c in range(channels):
                    if nodes[y, x, c] != 0.0:
                        image[y, x, c] = max(image[y, x, c] + nodes[y, x, c], least)
        return
    weights = cubic_weights(step)
    first_busy = np.full(rows, columns, np.int64)  # nodes of a row that are not zero
    last_busy = np.full(rows, -1, np.int64)
    for row in range(rows):
        for column in range(columns):
            for c in range(channels):
                if nodes[row, column, c] != 0.0:
                    first_busy[row] = min(first_busy[row], column)
                    last_busy[row] = column
    line = np.zeros((columns, channels), np.float32)
    for y in range(height):
        row = y // step
        wy = weights[y % step]
        first, last = columns, -1
        for j in range(4):
            if wy[j] != 0.0:
                yy = min(max(row - 1 + j, 0), rows - 1)
                first, last = min(first, first_busy[yy]), max(last, last_busy[yy])
        if last < 0:
            continue
        first, last = max(first - 3, 0), min(last + 3, columns - 1)
        line[first : last + 1] = 0.0
        for j in range(4):
            if wy[j] != 0.0:
                yy = min(max(row - 1 + j, 0), rows - 1)
                for x in range(first, last + 1):
                    for c in range(channels):
                        line[x, c] += wy[j] * nodes[yy, x, c]
        for x in range(first * step, min((last + 1) * step, width)):
            if masked and not where[y, x]:
                continue
            x1 = x // step
            wx = weights[x % step]
            x0, x2, x3 = max(x1 - 1, first), min(x1 + 1, last), min(x1 + 2, last)
            for c in range(channels):
                change = wx[0] * line[x0, c] + wx[1] * line[x1, c] + wx[2] * line[x2, c] + wx[3] * line[x3, c]
                if change != 0.0:
                    image[y, x, c] = max(image[y, x, c] + change, least)


@njit(cache=True, nogil=True)
def cubic_weights(step):
    """Catmull-Rom weights of the 4 nodes around each of the `step` places between two of them, `[step,4]`."""
    weights = np.empty((step, 4), np.float32)
    for k in range(step):
        t = k / step
        weights[k, 0] = -0.5 * t + t * t - 0.5 * t * t * t
        weights[k, 1] = 1.0 - 2.5 * t * t + 1.5 * t * t * t
        weights[k, 2] = 0.5 * t + 2.0 * t * t - 1.5 * t * t * t
        weights[k, 3] = -0.5 * t * t + 0.5 * t * t * t
    return weights


@njit(cache=True, nogil=True)
def left_out_error(nodes, traced, most):
    """Mark (uint8) `traced` nodes that cubic interpolation from every second node would miss by more than `most`."""
    rows, columns, channels = nodes.shape
    rough = np.zeros((rows, columns), np.uint8)
    weights = cubic_weights(2)
    last_row, last_column = (rows - 1) // 2, (columns - 1) // 2
    for y in range(rows):
        for x in range(columns):
            if not traced[y, x] or (y % 2 == 0 and x % 2 == 0):
                continue
            for c in range(channels):
                guess = np.float32(0.0)
                for j in range(4):
                    wy = weights[y % 2, j]
                    if wy == 0.0:
                        continue
                    yy = 2 * min(max(y // 2 - 1 + j, 0), last_row)
                    for i in range(4):
                        wx = weights[x % 2, i]
                        if wx != 0.0:
                            guess += wy * wx * nodes[yy, 2 * min(max(x // 2 - 1 + i, 0), last_column), c]
                if abs(guess - nodes[y, x, c]) > most:
                    rough[y, x] = 1
                    break
    return rough


@njit(cache=True, nogil=True)
def disagreeing(error, wanted, most):
    """Keep of `wanted` the nodes around which (5 x 5) the mean square of `error` is above that of `most`."""
    rows, columns = error.shape
    kept = np.zeros((rows, columns), np.bool_)
    limit = np.float32(25.0 * most * most)
    for y in range(rows):
        for x in range(columns):
            if not wanted[y, x]:
                continue
            total = np.float32(0.0)
            for yy in range(max(y - 2, 0), min(y + 3, rows)):
                for xx in range(max(x - 2, 0), min(x + 3, columns)):
                    total += error[yy, xx] * error[yy, xx]
            kept[y, x] = total > limit
    return kept


@njit(cache=True, nogil=True)
def runs_of(wanted, busy_rows, first_column, end_column, gap, most):
    """Row, first column, length of the runs of `wanted` along rows, over gaps of up to `gap`, at most `most` long.

    Only `busy_rows` and the columns from `first_column` up to `end_column` are looked at.
    """
    found = np.empty((1024, 3), np.int64)
    count = 0
    for y in busy_rows:
        x = first_column
        while x < end_column:
            if not wanted[y, x]:
                x += 1
                continue
            first = x
            last = x
            x += 1
            while x < end_column and x - last <= gap and x - first < most:
                if wanted[y, x]:
                    last = x
                x += 1
            x = last + 1
            if count == found.shape[0]:
                larger = np.empty((2 * count, 3), np.int64)
                larger[:count] = found
                found = larger
            found[count] = (y, first, x - first)
            count += 1
    return found[:count]
