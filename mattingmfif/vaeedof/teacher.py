"""Auto-encoders that VAEEDOF's own is distilled from: a diffusers AutoencoderKL folder, or a larger one trained here.

A teacher tells, of pictures `[B,3,H,W]` in -1..1, its latent `[B,C,H/8,W/8]` (the mode of its distribution, shifted and
scaled as its config says) and its deepest features; `AutoencoderKL` is read from `config.json` and safetensors by plain
torch modules whose parameter names are those of diffusers, so a folder is loaded strictly.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mattingmfif.errors import UserError
from mattingmfif.photo.images import file_sha256
from mattingmfif.vaeedof.checkpoint import fill, load_tensors, read_about
from mattingmfif.vaeedof.model import Decoder, Encoder
from mattingmfif.vaeedof.settings import STRIDE_PX, ModelSettings

#: what diffusers takes where a config.json, of before a key was invented, does not say
KL_DEFAULTS: dict[str, Any] = {
    "act_fn": "silu", "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32, "scaling_factor": 0.18215,
    "shift_factor": None, "use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True,
}  # fmt: skip
KL_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "model.safetensors")


class Teacher(Protocol):
    """What distillation asks of a teacher."""

    latent_channels: int
    feature_channels: int

    def to(self, device: torch.device) -> Any:
        """The teacher itself, moved there."""
        ...

    def teach(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Latent and deepest features of pictures."""
        ...


class VariationalAutoencoder(nn.Module):
    """Our own teacher: a larger encoder that gives mean and log-variance, and a decoder."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.latent_channels, self.feature_channels = settings.latent_channels, settings.widths[-1]
        self.encoder, self.decoder = Encoder(settings, 2 * settings.latent_channels), Decoder(settings)

    def distribution(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent."""
        mean, log_variance = self.encoder(picture).chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    def forward(self, picture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log-variance, and the picture decoded from mean + deviation * noise."""
        mean, log_variance = self.distribution(picture)
        decoded: Tensor = self.decoder(mean + noise * (0.5 * log_variance).exp())
        return mean, log_variance, decoded

    def teach(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, and the features before it."""
        features = self.encoder.deepest(self.encoder.skips(picture)[-1])
        mean: Tensor = self.encoder.to_latent(F.relu(features)).chunk(2, 1)[0]
        return mean, features


class _Resnet(nn.Module):
    def __init__(self, width_in: int, width_out: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, width_in, eps=1e-6), nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2, self.conv2 = (
            nn.GroupNorm(groups, width_out, eps=1e-6),
            nn.Conv2d(width_out, width_out, 3, padding=1),
        )
        self.conv_shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        straight: Tensor = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return straight + y


class _Attention(nn.Module):
    """One head over all positions, as in the middle of the auto-encoder."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        flat = self.group_norm(x).flatten(2).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(self.to_q(flat), self.to_k(flat), self.to_v(flat))
        return x + self.to_out[0](mixed).transpose(1, 2).reshape(x.shape)


class _Conv(nn.Module):
    """A resampling step; its convolution is called `conv` in the folder."""

    def __init__(self, width: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(width, width, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        # diffusers pads the end only
        x = F.pad(x, (0, 1, 0, 1)) if self.down else F.interpolate(x, scale_factor=2.0, mode="nearest")
        y: Tensor = self.conv(x)
        return y


class _Level(nn.Module):
    """Residual blocks at one resolution, and the step to the next."""

    def __init__(self, width_in: int, width_out: int, blocks: int, groups: int, step: str) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            _Resnet(width_in if k == 0 else width_out, width_out, groups) for k in range(blocks)
        )
        self.downsamplers = nn.ModuleList([_Conv(width_out, True)]) if step == "down" else None
        self.upsamplers = nn.ModuleList([_Conv(width_out, False)]) if step == "up" else None

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.resnets, self.downsamplers, self.upsamplers):
            for layer in part or ():
                x = layer(x)
        return x


class _Middle(nn.Module):
    def __init__(self, width: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Resnet(width, width, groups) for _ in range(2))
        self.attentions = nn.ModuleList([_Attention(width, groups)]) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for layer in self.attentions or ():
            x = layer(x)
        y: Tensor = self.resnets[1](x)
        return y


class _Half(nn.Module):
    """Encoder or decoder: first convolution, levels, middle, last convolution."""

    def __init__(self, config: dict[str, Any], encoder: bool) -> None:
        super().__init__()
        widths, groups = list(config["block_out_channels"]), int(config["norm_num_groups"])
        latents, blocks = int(config["latent_channels"]), int(config["layers_per_block"])
        middle = _Middle(widths[-1], groups, bool(config["mid_block_add_attention"]))
        order = widths if encoder else widths[::-1]
        steps = ["down" if encoder else "up"] * (len(order) - 1) + ["none"]
        before = [order[0], *order[:-1]]
        levels = nn.ModuleList(
            _Level(a, b, blocks + (0 if encoder else 1), groups, step)
            for a, b, step in zip(before, order, steps, strict=True)
        )
        ends = (3, 2 * latents) if encoder else (latents, 3)
        self.is_encoder = encoder
        self.conv_in = nn.Conv2d(ends[0], order[0], 3, padding=1)
        if encoder:
            self.down_blocks, self.mid_block = levels, middle
        else:
            self.mid_block, self.up_blocks = middle, levels
        self.conv_norm_out = nn.GroupNorm(groups, order[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(order[-1], ends[1], 3, padding=1)

    def deepest(self, x: Tensor) -> Tensor:
        """The encoder's features after its middle."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        y: Tensor = self.mid_block(x)
        return y

    def last(self, x: Tensor) -> Tensor:
        """What comes after the last block."""
        y: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return y

    def forward(self, x: Tensor) -> Tensor:
        if self.is_encoder:
            return self.last(self.deepest(x))
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.last(x)


class AutoencoderKL(nn.Module):
    """The auto-encoder of latent diffusion models (encoder, decoder, quantisation convolutions), stride 8."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = {**KL_DEFAULTS, **config}
        self.latent_channels = int(config["latent_channels"])
        self.feature_channels = int(config["block_out_channels"][-1])
        self.scaling_factor = float(config["scaling_factor"])
        self.shift_factor = float(config["shift_factor"] or 0.0)
        if not (math.isfinite(self.scaling_factor) and self.scaling_factor and math.isfinite(self.shift_factor)):
            raise ValueError(f"scaling_factor {self.scaling_factor}, shift_factor {self.shift_factor}")
        self.encoder, self.decoder = _Half(config, True), _Half(config, False)
        c = self.latent_channels
        self.quant_conv = nn.Conv2d(2 * c, 2 * c, 1) if config["use_quant_conv"] else None
        self.post_quant_conv = nn.Conv2d(c, c, 1) if config["use_post_quant_conv"] else None

    def teach(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(mode - shift) * scale of the latent, and the encoder's deepest features."""
        features = self.encoder.deepest(picture)
        moments = self.encoder.last(features)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        return (moments.chunk(2, 1)[0] - self.shift_factor) * self.scaling_factor, features

    def decode(self, latent: Tensor) -> Tensor:
        """The picture of a shifted and scaled latent."""
        latent = latent / self.scaling_factor + self.shift_factor
        picture: Tensor = self.decoder(latent if self.post_quant_conv is None else self.post_quant_conv(latent))
        return picture


def _renamed(name: str) -> str:
    """Today's name of a parameter in folders of before 2023."""
    for old, new in ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")):
        name = name.replace(old, new)
    return name


def load_autoencoder_kl(folder: str | Path) -> AutoencoderKL:
    """The AutoencoderKL in a diffusers folder (config.json, safetensors), frozen; UserError says what is wrong."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if (folder / "vae" / "config.json").is_file():
            raise UserError(f"{folder}: a whole pipeline; its auto-encoder is {folder / 'vae'}") from None
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder}: not a diffusers AutoencoderKL folder: config.json cannot be read ({reason})"
        ) from None
    if not isinstance(config, dict) or config.get("_class_name") != "AutoencoderKL":
        found = config.get("_class_name") if isinstance(config, dict) else config
        raise UserError(f"{folder}: config.json is of {found!r}; only AutoencoderKL can teach")
    weights = next((folder / name for name in KL_WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(f"{folder}: no weights; expected {KL_WEIGHTS[0]}")
    try:
        levels = len(config["block_out_channels"])
        if 2 ** (levels - 1) != STRIDE_PX:
            raise UserError(
                f"{folder}: stride {2 ** (levels - 1)}; a teacher of VAEEDOF has stride {STRIDE_PX} (four levels)"
            )
        kinds = set(config["down_block_types"]) | set(config["up_block_types"])
        if kinds - {"DownEncoderBlock2D", "UpDecoderBlock2D"} or config.get("act_fn", "silu") != "silu":
            raise UserError(
                f"{folder}: blocks other than DownEncoderBlock2D and UpDecoderBlock2D with silu are not known"
            )
        teacher = AutoencoderKL(config)
    except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: config.json does not describe an AutoencoderKL ({reason})") from None
    tensors = {_renamed(name): tensor.float() for name, tensor in load_tensors(weights)[0].items()}
    attention = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    tensors = {k: v.flatten(1) if k.endswith(attention) else v for k, v in tensors.items()}
    fill(teacher, tensors, weights)
    return teacher.eval().requires_grad_(False)


def teacher_sha256(path: str | Path) -> str:
    """Over the files of a teacher that exist: names say little, most folders of auto-encoders are called vae."""
    path = Path(path)
    files = [path / name for name in ("config.json", *KL_WEIGHTS)] if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file_sha256(file).encode())
    return digest.hexdigest()


def load_teacher(path: str | Path) -> AutoencoderKL | VariationalAutoencoder:
    """A teacher: a folder of diffusers, or a checkpoint of our own."""
    if Path(path).is_dir():
        return load_autoencoder_kl(path)
    tensors, metadata = load_tensors(Path(path))
    settings, _ = read_about(metadata, Path(path), "teacher")
    teacher = VariationalAutoencoder(settings)
    fill(teacher, tensors, Path(path))
    return teacher.eval().requires_grad_(False)
