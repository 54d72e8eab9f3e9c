"""The lens: layered scenes photographed through a real aperture. Importable alone; knows nothing of files or matting.

In the order in which data flows:

    aperture      the opening: outline and points
    field         the picture in cells, where the opening looks different from each place
    lens          a thin lens: distances -> signed blur radii in px
    psf           the image of a point for a radius
    scene         layers and scenes, the pinhole image
    pyramid       a layer's planes where it is not transparent, and reduced
    spectra       a window's transforms, kept for all frames
    blur          one layer blurred, flat or receding
    interaction   the correction where layers out of focus interact
    prepared      a scene packed once for a stack
    render        frames and stacks
    focus         where to focus
    sensor        light -> noisy, clipped codes
    refocus       a photo and a depth map -> a frame
    kernels, ray_kernels   every compiled loop
"""

from __future__ import annotations

from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.focus import plan_focus
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX, ThinLens
from mattingmfif.optics.psf import psf
from mattingmfif.optics.refocus import refocus, scene_from_depth
from mattingmfif.optics.render import Exposure, expose_stack, render, render_stack
from mattingmfif.optics.scene import (
    Layer,
    Scene,
    Whole,
    composite,
    composite_trust,
    depth_m,
    matte_share,
    mean_light,
    visible_weights,
)
from mattingmfif.optics.scene import depth_m as scene_depth_m
from mattingmfif.optics.sensor import Sensor, develop, expand_highlights, expose

__all__ = [
    "INVISIBLE_RADIUS_PX",
    "Aperture",
    "Exposure",
    "Layer",
    "Scene",
    "Sensor",
    "ThinLens",
    "Whole",
    "composite",
    "composite_trust",
    "depth_m",
    "develop",
    "expand_highlights",
    "expose",
    "expose_stack",
    "matte_share",
    "mean_light",
    "plan_focus",
    "psf",
    "refocus",
    "render",
    "render_stack",
    "scene_depth_m",
    "scene_from_depth",
    "visible_weights",
]
