"""What errors cost while training. Pictures are `[B,3,H,W]` in -1..1, weights `[B,H,W]`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mattingmfif.vaeedof.bands import smoothed
from mattingmfif.vaeedof.settings import LossSettings


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of two pictures at each pixel and colour, the window two binomials of 5 taps (sigma 1.4 px)."""

    def mean(maps: Tensor) -> Tensor:
        return smoothed(smoothed(maps, 1), 1)

    count = a.shape[1]
    a, b = (a + 1) / 2, (b + 1) / 2  # means count from black
    parts = mean(torch.cat([a, b, a * a, b * b, a * b], 1))
    mean_a, mean_b, square_a, square_b, product = parts.split(count, 1)  # type: ignore[no-untyped-call]
    c1, c2 = 0.01**2, 0.03**2
    both, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    similar: Tensor = (2 * both + c1) * (2 * (product - both) + c2)
    return similar / ((squares + c1) * (square_a + square_b - squares + c2))


def fusion_losses(fused: Tensor, target: Tensor, weight: Tensor, s: LossSettings) -> dict[str, Tensor]:
    """Terms of the fusion loss and their sum `loss`: absolute, squared, gradient differences, 1 - SSIM, by weight."""
    fused, target = fused.float(), target.float()
    share = (weight / weight.mean().clamp_min(1e-8))[:, None]
    error = fused - target
    # smooth around 0: with a plain absolute value every well-fused pixel pulls as hard as a wrong one
    absolute = ((error.square() + 1e-5).sqrt() * share).mean()
    squared = (error.square() * share).mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs() * share[..., 1:, :]
    right = (error[..., 1:] - error[..., :-1]).abs() * share[..., 1:]
    gradient = down.mean() + right.mean()
    unlike = ((1 - similarity(fused, target)) * share).mean()
    return {
        "loss": absolute + s.squared * squared + s.gradient * gradient + s.ssim * unlike,
        "absolute": absolute,
        "squared": squared,
        "gradient": gradient,
        "unlike": unlike,
    }


def distil_losses(
    latent: Tensor,
    feature: Tensor,
    decoded: Tensor,
    taught_latent: Tensor,
    taught_feature: Tensor,
    picture: Tensor,
    s: LossSettings,
) -> dict[str, Tensor]:
    """Terms of the distillation loss and their sum `loss`; features are compared relative to the teacher's variance."""
    scale = taught_feature.float().var().clamp_min(1e-6)
    terms = {
        "latent": F.mse_loss(latent.float(), taught_latent.float()),
        "feature": F.mse_loss(feature.float(), taught_feature.float()) / scale,
        "pixel": (decoded.float() - picture.float()).abs().mean(),
    }
    terms["loss"] = s.latent * terms["latent"] + s.feature * terms["feature"] + s.pixel * terms["pixel"]
    return terms


def teacher_losses(
    mean: Tensor, log_variance: Tensor, decoded: Tensor, picture: Tensor, kl: float
) -> dict[str, Tensor]:
    """Absolute and squared difference of the decoded picture, and `kl` times the divergence from a unit normal."""
    error = decoded.float() - picture.float()
    log_variance = log_variance.float()
    divergence = 0.5 * (mean.float().square() + log_variance.exp() - 1 - log_variance).mean()
    terms = {"pixel": error.abs().mean(), "squared": error.square().mean(), "kl": divergence}
    terms["loss"] = terms["pixel"] + terms["squared"] + kl * divergence
    return terms
