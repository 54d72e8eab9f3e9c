"""What a recipe says about scenes, distances, lens, aperture and focus. Every field is a key of the recipe's table.

Fields of type `Drawn` are drawn once per sample and recorded; the others are fixed for the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mattingmfif.errors import UserError
from mattingmfif.scene.draw import Drawn, check_numbers, check_words

SCENE_KINDS = ("in-place", "composite")
BACKGROUNDS = ("wall", "ground")
FOCUS_PLANS = ("tile", "layers", "random", "gap")
MAX_FRAMES = 7
MAX_ALPHAS = 6
fixed = Drawn.fixed
#: a key that came after recipes were published: left out of a recipe's identity while it has its default
LATER = {"later": True}


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """`[scene]`: what stands in front of what."""

    kind: Drawn = fixed(
        "in-place"
    )  # in-place: a photo's own subjects over its own plate; composite: cut-outs of others
    background: Drawn = fixed("wall")  # wall: one distance; ground: a plane that recedes to the horizon
    without_subject: str = "ground"  # ground: photos without a usable subject become receding grounds; refuse: they go
    horizon: Drawn = fixed(0.4)  # height of the horizon, 0 the top of the frame, 1 its bottom
    subjects_max: int = 3  # most cut-outs in one scene
    composite_subjects: Drawn = fixed(2)  # cut-outs in a composite scene
    composite_height: Drawn = fixed(
        0.6
    )  # height of a cut-out as a share of the frame; it is never enlarged to reach it

    def __post_init__(self) -> None:
        """Refuse values that no scene can have."""
        check_words(self.kind, "scene.kind", SCENE_KINDS)
        check_words(self.background, "scene.background", BACKGROUNDS)
        if self.without_subject not in ("ground", "refuse"):
            raise UserError(f"scene.without_subject: {self.without_subject!r} is not allowed; allowed: ground, refuse")
        check_numbers(self.horizon, "scene.horizon", least=0.0, most=0.9)
        check_numbers(fixed(self.subjects_max), "scene.subjects_max", least=1, most=MAX_ALPHAS, whole=True)
        check_numbers(self.composite_subjects, "scene.composite_subjects", least=1, most=self.subjects_max, whole=True)
        check_numbers(self.composite_height, "scene.composite_height", above=0.0, most=1.0)


@dataclass(frozen=True, kw_only=True)
class DistanceSettings:
    """`[distances]`: where layers stand, drawn evenly in dioptres between the nearest and the farthest."""

    nearest_m: Drawn = fixed(1.0)
    farthest_m: Drawn = fixed(10.0)  # inf is welcome
    least_gap_px: float = 4.0  # two layers differ by at least this blur radius when one of them is in focus

    def __post_init__(self) -> None:
        """Refuse distances that no lens can have."""
        check_numbers(self.nearest_m, "distances.nearest_m", above=0.0)
        check_numbers(self.farthest_m, "distances.farthest_m", above=0.0)
        check_numbers(fixed(self.least_gap_px), "distances.least_gap_px", least=0.0)
        nearest, farthest = ([float(value) for value in drawn.possible] for drawn in (self.nearest_m, self.farthest_m))
        if max(nearest) >= min(farthest):
            raise UserError(
                f"distances.farthest_m: {min(farthest):g} is not beyond distances.nearest_m, which reaches "
                f"{max(nearest):g}; every farthest_m must be greater than every nearest_m"
            )


@dataclass(frozen=True, kw_only=True)
class DepthSettings:
    """`[depth]`: how a user's depth maps are read (`--depth`, `--depth-kind`)."""

    kind: str = "metres"  # metres: distance along the axis; disparity: larger is nearer, relative
    near_m: float = 1.0  # distance given to the largest disparity of a map without a scale
    far_m: float = 10.0  # distance given to the smallest
    # of a photo without mattes; surface: one receding surface; layers: cut where depth jumps, filled behind
    edges: str = field(default="surface", metadata=LATER)
    # of photos without a depth map: an ONNX file on disk, and what it gives (never guessed)
    model: str = field(default="", metadata=LATER)
    model_kind: str = field(default="", metadata=LATER)  # disparity (Depth Anything V2) or metres (V3, metric models)
    model_licence: str = field(default="unknown", metadata=LATER)
    model_sha256: str = field(default="", metadata=LATER)  # filled in when a build is planned

    def __post_init__(self) -> None:
        """Refuse unknown kinds and an empty range."""
        if self.kind not in ("metres", "disparity"):
            raise UserError(f"depth.kind: {self.kind!r} is not allowed; allowed: metres, disparity")
        if self.edges not in ("surface", "layers"):
            raise UserError(f"depth.edges: {self.edges!r} is not allowed; allowed: surface, layers")
        if self.model_kind not in ("", "metres", "disparity"):
            raise UserError(f"depth.model_kind: {self.model_kind!r} is not allowed; allowed: metres, disparity")
        if self.model and not self.model_kind:
            raise UserError(
                "depth.model_kind: missing; disparity for Depth Anything V2, metres for V3 and metric models"
            )
        if self.model_kind and not self.model:
            raise UserError(f"depth.model_kind: {self.model_kind} needs depth.model, the model's ONNX file")
        if not 0 < self.near_m < self.far_m:
            raise UserError(f"depth.near_m: {self.near_m:g} must be above 0 and below depth.far_m ({self.far_m:g})")


@dataclass(frozen=True, kw_only=True)
class LensSettings:
    """`[lens]`: the thin lens and its sensor."""

    focal_length_mm: Drawn = fixed(50.0)
    f_number: Drawn = fixed(2.8)
    sensor_width_mm: Drawn = fixed(36.0)  # along the frame's long side
    largest_blur_radius_share: float = 0.0125  # of the long side; a scene that would blur more is stopped down
    quality: str = "fast"  # fast: layered product; exact: the aperture integral
    # faults of real lenses, all off by default; dioptres are differences of 1/m
    axial_colour_dioptres: Drawn = field(default=fixed(0.0), metadata=LATER)  # blue focuses nearer, red farther by this
    field_curvature_dioptres: Drawn = field(default=fixed(0.0), metadata=LATER)  # focus shift in the corners
    breathing: Drawn = field(default=fixed(0.0), metadata=LATER)  # 0: registered frames; 1: a thin lens's magnification
    diffraction: bool = field(default=False, metadata=LATER)  # the Airy pattern, where it is not negligible

    def __post_init__(self) -> None:
        """Refuse lenses that cannot be built."""
        check_numbers(self.focal_length_mm, "lens.focal_length_mm", above=0.0, most=2000.0)
        check_numbers(self.f_number, "lens.f_number", above=0.0, most=128.0)
        check_numbers(self.sensor_width_mm, "lens.sensor_width_mm", above=0.0, most=200.0)
        check_numbers(fixed(self.largest_blur_radius_share), "lens.largest_blur_radius_share", above=0.0, most=0.05)
        if self.quality not in ("fast", "exact"):
            raise UserError(f"lens.quality: {self.quality!r} is not allowed; allowed: fast, exact")
        check_numbers(self.axial_colour_dioptres, "lens.axial_colour_dioptres", least=-1.0, most=1.0)
        check_numbers(self.field_curvature_dioptres, "lens.field_curvature_dioptres", least=-2.0, most=2.0)
        check_numbers(self.breathing, "lens.breathing", least=0.0, most=1.0)


@dataclass(frozen=True, kw_only=True)
class ApertureSettings:
    """`[aperture]`: the shape of an out-of-focus highlight."""

    blades: Drawn = fixed(0)  # 0: a circle; otherwise 3 to 15
    roundness: Drawn = fixed(0.0)  # 0: straight blades; 1: a circle
    rotation_deg: Drawn = fixed(0.0)
    cats_eye: Drawn = fixed(0.0)  # optical vignetting at the corners, 0 none
    spherical: Drawn = fixed(0.0)  # -1..1: soft or bright rims

    def __post_init__(self) -> None:
        """Refuse shapes outside what the optics draws."""
        for value in self.blades.possible:
            if isinstance(value, bool | str) or value not in (0, *range(3, 16)):
                raise UserError(f"aperture.blades: {value!r} is not allowed; allowed: 0 (a circle), 3 to 15")
        check_numbers(self.roundness, "aperture.roundness", least=0.0, most=1.0)
        check_numbers(self.rotation_deg, "aperture.rotation_deg", least=-360.0, most=360.0)
        check_numbers(self.cats_eye, "aperture.cats_eye", least=0.0, most=1.0)
        check_numbers(self.spherical, "aperture.spherical", least=-1.0, most=1.0)


@dataclass(frozen=True, kw_only=True)
class SensorSettings:
    """`[sensor]`: from light to codes. Target and frames share exposure and vignetting; only frames have noise."""

    exposure_ev: Drawn = fixed(0.0)  # light times 2 ** this, then clipped at white
    vignetting_ev: Drawn = fixed(0.0)  # loss of light in the corners, in stops
    iso: Drawn = fixed(0.0)  # 0: no noise; else Poisson photons and Gaussian reading
    full_well_electrons: float = 25000.0  # photo-electrons at white and ISO 100
    read_noise_electrons: float = 3.0  # standard deviation
    bake_noise: bool = False  # false: frames are stored noiseless and the drawn noise is recorded for the loader

    def __post_init__(self) -> None:
        """Refuse sensors that cannot be."""
        check_numbers(self.exposure_ev, "sensor.exposure_ev", least=-10.0, most=10.0)
        check_numbers(self.vignetting_ev, "sensor.vignetting_ev", least=0.0, most=6.0)
        check_numbers(self.iso, "sensor.iso", least=0.0, most=1e6)
        check_numbers(fixed(self.full_well_electrons), "sensor.full_well_electrons", least=100.0, most=1e7)
        check_numbers(fixed(self.read_noise_electrons), "sensor.read_noise_electrons", least=0.0, most=1000.0)


@dataclass(frozen=True, kw_only=True)
class HighlightSettings:
    """`[highlights]`: light that the sources' white cut off, put back before the lens (invented, and recorded)."""

    most: Drawn = fixed(1.0)  # linear light given to white; 1: off
    threshold: float = 0.9  # linear light from which a pixel is raised

    def __post_init__(self) -> None:
        """Refuse expansions that are none."""
        check_numbers(self.most, "highlights.most", least=1.0, most=100.0)
        check_numbers(fixed(self.threshold), "highlights.threshold", above=0.0, below=1.0)


@dataclass(frozen=True, kw_only=True)
class FocusSettings:
    """`[focus]`: at which distances the stack is focused."""

    plan: Drawn = fixed("tile")
    frames_min: int = 2
    frames_max: int = MAX_FRAMES

    def __post_init__(self) -> None:
        """Refuse stacks of fewer than 2 or more than 7 frames."""
        check_words(self.plan, "focus.plan", FOCUS_PLANS)
        check_numbers(fixed(self.frames_min), "focus.frames_min", least=2, most=MAX_FRAMES, whole=True)
        check_numbers(fixed(self.frames_max), "focus.frames_max", least=2, most=MAX_FRAMES, whole=True)
        if self.frames_min > self.frames_max:
            raise UserError(f"focus.frames_min: {self.frames_min} is above focus.frames_max ({self.frames_max})")


@dataclass(frozen=True, kw_only=True)
class ShotSettings:
    """The tables that decide a shot, together."""

    scene: SceneSettings
    distances: DistanceSettings
    depth: DepthSettings
    lens: LensSettings
    aperture: ApertureSettings
    focus: FocusSettings
    sensor: SensorSettings
    highlights: HighlightSettings
    bits: int  # layers are quantised to what is stored before anything is photographed
