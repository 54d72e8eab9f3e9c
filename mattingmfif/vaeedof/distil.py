"""The three lessons, one class a stage: what is trained, on which pictures, and what a batch costs.

teacher   a larger variational auto-encoder learns to reproduce pictures (only needed without an AutoencoderKL folder)
distil    the student's encoder and decoder learn the teacher's latents and features, and the pictures themselves
fusion    the whole VAEEDOF learns to give the target of a stack, end to end
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mattingmfif.vaeedof.examples import Draw
from mattingmfif.vaeedof.losses import distil_losses, fusion_losses, teacher_losses
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.parts import conv1
from mattingmfif.vaeedof.settings import TrainRecipe
from mattingmfif.vaeedof.teacher import Teacher, VariationalAutoencoder


def batch_of(draws: Sequence[Draw], device: torch.device) -> dict[str, Tensor]:
    """Draws as tensors; frame slots that no draw of the batch uses are cut off."""
    most = int(max(draw.present.sum() for draw in draws))
    arrays = {
        "pictures": np.stack([draw.pictures[:most] for draw in draws]),
        "present": np.stack([draw.present[:most] for draw in draws]),
        "target": np.stack([draw.target for draw in draws]),
        "weight": np.stack([draw.weight for draw in draws]),
    }
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}


class TeacherLesson(nn.Module):
    """Trains our own teacher on the targets."""

    def __init__(self, recipe: TrainRecipe) -> None:
        super().__init__()
        self.kl_weight = recipe.teacher.kl_weight
        self.teacher = VariationalAutoencoder(recipe.teacher_model())

    def forward(self, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Loss terms of a batch; `seed` decides the noise."""
        picture = batch["target"]
        b, _, h, w = picture.shape
        shape = (b, self.teacher.latent_channels, h // 8, w // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(picture.device)
        mean, log_variance, decoded = self.teacher(picture, noise)
        return teacher_losses(mean, log_variance, decoded, picture, self.kl_weight)


class DistilLesson(nn.Module):
    """Trains the student's auto-encoder; the teacher is frozen and no part of what is trained."""

    def __init__(self, recipe: TrainRecipe, teacher: Teacher) -> None:
        super().__init__()
        self.losses = recipe.losses
        self.student = VAEEDOF(recipe.model)
        same = teacher.latent_channels == recipe.model.latent_channels
        self.latent_head = nn.Identity() if same else conv1(recipe.model.latent_channels, teacher.latent_channels)
        self.feature_head = conv1(recipe.model.widths[-1], teacher.feature_channels)
        self._teacher = [teacher]  # in a list: not a submodule, so neither saved nor trained

    def forward(self, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Loss terms of a batch: the targets and one frame of each stack, since both will be encoded."""
        del seed
        picture = torch.cat([batch["target"], batch["pictures"][:, 0]])
        with torch.no_grad():  # being no submodule, the teacher does not follow the lesson to its device
            taught_latent, taught_feature = self._teacher[0].to(picture.device).teach(picture)
        encoder = self.student.encoder
        feature = encoder.deepest(encoder.skips(picture)[-1])
        latent = encoder.to_latent(nn.functional.relu(feature))
        decoded = self.student.decoder(latent)
        return distil_losses(
            self.latent_head(latent),
            self.feature_head(feature),
            decoded,
            taught_latent,
            taught_feature,
            picture,
            self.losses,
        )


class FusionLesson(nn.Module):
    """Trains the whole network on stacks."""

    def __init__(self, recipe: TrainRecipe) -> None:
        super().__init__()
        self.losses = recipe.losses
        self.student = VAEEDOF(recipe.model)

    def forward(self, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Loss terms of a batch."""
        del seed
        fused = self.student(batch["pictures"], batch["present"])
        return fusion_losses(fused, batch["target"], batch["weight"], self.losses)
