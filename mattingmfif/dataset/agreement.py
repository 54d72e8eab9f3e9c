"""Where a frame is sharp it shows the target: the same tones, at the same place, in the same codes.

A network that is given a frame with a tone, a place or single codes of its own learns which frame that is, and from it
where to look. All three are measured in pixels that the record says are sharp, as differences between frames: what all
frames share gives nothing away. Where the record says that frames hold nothing but defocus, the target is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: the figure that a threshold is for, and the leak in words ("" for none); None where nothing can be said
Found = tuple[float, str] | None

#: allowed differences between frames: codes of 255 in the mean, px, share of pixels with other codes
TONE_CODES, POSITION_PX, MARKED_SHARE = 0.25, 0.15, 0.001
#: a mean says something from this many pixels on, and a difference from this many standard errors on
_LEAST_PIXELS, _ERRORS = 2000, 6.0
#: tones near the ends of the scale are cut off there
_LOW, _HIGH = 8, 247
#: a pixel that stands out from all around it by more codes than this is none that a lens has blurred
_LONE_CODES, _LONE_PIXELS = 16, 3
#: least mean square of the gradient, codes^2 per px^2, in its weaker direction: texture to hold on to
_LEAST_TEXTURE = 4.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What one frame has of its own, by words that name it."""

    name: str
    tone: tuple[Float64, Float64] | None  # mean difference of each channel in codes, and its standard error
    shifts: Mapping[tuple[int, int], tuple[Float64, float]]  # by block: (x, y) in px, and its standard error
    marks: Sequence[tuple[float, str]]  # shares, and what they are shares of


TARGET = Agreement(
    name="the target",
    tone=(np.zeros(3), np.zeros(3)),
    shifts={(row, column): (np.zeros(2), 0.0) for row in range(-1, 3) for column in range(-1, 3)},
    marks=[(0.0, "")],
)


def agreement(
    number: int,
    frame: npt.NDArray[Any],
    target: npt.NDArray[Any],
    sharp: Mask,
    nearly_sharp: Mask,
    blurred: Mask,
    *,
    must_equal: bool,
) -> Agreement:
    """How frame `[H,W,3]` agrees with the target (codes) where it is `sharp`; its place where it is nearly so.

    If it `must_equal` the target there every other code counts; where it is `blurred` every pixel that stands out.
    """
    scale = np.float32(255 / np.iinfo(frame.dtype).max)
    difference = frame.astype(np.float32)
    difference -= target
    difference *= scale
    in_range = (target.min(axis=2) * scale > _LOW) & (target.max(axis=2) * scale < _HIGH)
    own = difference[sharp & in_range]
    tone = None
    if len(own) >= _LEAST_PIXELS:
        error = own.std(axis=0, dtype=np.float64) / np.sqrt(len(own))
        tone = own.mean(axis=0, dtype=np.float64), error
    marks = []
    if must_equal and int(sharp.sum()) >= _LEAST_PIXELS:
        share = float(difference[sharp].any(axis=-1).mean())
        marks.append((share, f"{share:.2%} of the sharp pixels of frame {number} hold other codes than the target"))
    if int(blurred.sum()) >= _LEAST_PIXELS:
        lone = int((_lone_pixels(frame) & blurred).sum())
        share = MARKED_SHARE + lone / float(blurred.sum()) if lone > _LONE_PIXELS else 0.0
        marks.append((share, f"{lone} single pixels stand out where frame {number} is blurred"))
    green = np.ascontiguousarray(difference[..., 1])
    shifts = dict(_shifts(green, target[..., 1].astype(np.float32) * scale, nearly_sharp))
    return Agreement(name=f"frame {number}", tone=tone, shifts=shifts, marks=marks)


def tones_apart(frames: Sequence[Agreement]) -> Found:
    """By how many codes the mean of a channel differs between frames, beyond what chance may do."""
    known = [(frame.name, *frame.tone) for frame in frames if frame.tone is not None]
    worst, words = 0.0, ""
    for (name, mean, error), (other_name, other_mean, other_error) in _pairs(known):
        apart = np.abs(mean - other_mean) - _ERRORS * np.hypot(error, other_error)
        channel = int(np.argmax(apart))
        if apart[channel] > worst:
            worst = float(apart[channel])
            colour = ("red", "green", "blue")[channel]
            words = f"{colour} of {name} is {worst:.2f} codes from that of {other_name} in pixels that are sharp"
    return (worst, f"{words}; {TONE_CODES:g} is allowed" if worst > TONE_CODES else "") if len(known) > 1 else None


def positions_apart(frames: Sequence[Agreement]) -> Found:
    """By how many px frames are shifted against each other, anywhere in them, beyond what chance may do."""
    worst, words, compared = 0.0, "", False
    for one, other in _pairs(frames):
        for place in one.shifts.keys() & other.shifts.keys():
            compared = True
            (shift, error), (other_shift, other_error) = one.shifts[place], other.shifts[place]
            apart = float(np.hypot(*(shift - other_shift))) - _ERRORS * float(np.hypot(error, other_error))
            if apart > worst:
                worst, words = apart, f"{one.name} is shifted by {apart:.2f} px against {other.name} where it is sharp"
    return (worst, f"{words}; {POSITION_PX:g} is allowed" if worst > POSITION_PX else "") if compared else None


def marks_apart(frames: Sequence[Agreement]) -> Found:
    """The share of pixels with codes that no lens makes, in one frame beyond the share in others."""
    marks = [mark for frame in frames for mark in frame.marks]
    if len(marks) < 2:
        return None
    apart = max(marks)[0] - min(marks)[0]
    return apart, f"{max(marks)[1]}; {MARKED_SHARE:.1%} is allowed apart" if apart > MARKED_SHARE else ""


def _shifts(
    difference: Float32, target: Float32, where: Mask
) -> Iterator[tuple[tuple[int, int], tuple[Float64, float]]]:
    """The shift d of each block that explains best, in least squares, a difference of -d times the gradient."""
    middle = target + difference / 2  # whose gradient leaves no error of first order
    slope = np.stack([cv2.Sobel(middle, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0)], axis=-1)
    for place, block in _blocks(difference.shape):
        here = where[block]
        if int(here.sum()) < _LEAST_PIXELS:
            continue
        g, d = slope[block][here].astype(np.float64), difference[block][here].astype(np.float64)
        square = g.T @ g
        if np.linalg.eigvalsh(square)[0] < _LEAST_TEXTURE * len(g):
            continue
        shift = np.asarray(-np.linalg.solve(square, g.T @ d), np.float64)
        left = d + g @ shift
        yield place, (shift, float(np.sqrt(left.var() * np.trace(np.linalg.inv(square)))))


def _lone_pixels(codes: npt.NDArray[Any]) -> Mask:
    """Pixels brighter, or darker, than every one of their eight neighbours by more than the limit, in any channel."""
    limit = _LONE_CODES * int(np.iinfo(codes.dtype).max) // 255
    around = np.ones((3, 3), np.uint8)
    around[1, 1] = 0
    # saturated differences of unsigned codes are 0 below
    brighter = cv2.subtract(codes, cv2.dilate(codes, around)) > limit
    darker = cv2.subtract(cv2.erode(codes, around), codes) > limit
    return np.asarray((brighter | darker).any(axis=2))


def _pairs(items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return ((one, other) for index, one in enumerate(items) for other in items[index + 1 :])


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """The whole plane, and its nine parts: a change of scale shifts them differently."""
    yield (-1, -1), (slice(None), slice(None))
    rows, columns = (np.linspace(0, length, 4).astype(int) for length in shape)
    for row in range(3):
        for column in range(3):
            yield (row, column), (slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1]))
