"""The group to which every command belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mattingmfif import __version__

DEFAULT_RECIPE = "mattingmfif-4k"


class Place(click.ParamType):  # type: ignore[type-arg]
    """A folder on this machine as a Path, or the address of a remote one (`s3://…`) as a str."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as a Path or an address."""
        return value if isinstance(value, Path) or "://" in value else FOLDER.convert(value, param, ctx)


#: a folder given on the command line
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
#: a folder, or an address
PLACE = Place()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mattingmfif")
def cli() -> None:
    """Training data for multi-focus image fusion, made from real photographs."""


def depth_model_keys(words: dict[str, Any]) -> dict[str, str | None]:
    """The recipe's keys that the options of a depth model set."""
    file = words.pop("depth_model")
    return {
        "depth.model": None if file is None else str(file),
        "depth.model_kind": words.pop("depth_model_kind"),
        "depth.model_licence": words.pop("depth_model_licence"),
    }
