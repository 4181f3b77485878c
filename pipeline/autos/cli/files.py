"""Files that a command reads or writes."""

import tempfile
from pathlib import Path

from autos.errors import UserError
from autos.storage.files import read_yaml
from autos.training.recipe import TrainConfig


def check_writable(option: str, path: Path, suffix: str) -> None:
    """Check that a file can be written, before a command works for minutes.

    Args:
        option: Option that names the file, for the message.
        path: Path of the file.
        suffix: Ending that the file must have.

    Raises:
        UserError: The file has another ending or cannot be written.
    """
    if path.suffix != suffix or (path.exists() and not path.is_file()):
        raise UserError(f"{option} {path}: must be a file with the ending {suffix}")
    folder = next(place for place in path.absolute().parents if place.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{option} {path}: cannot be written ({folder}: {error.strerror})"
        ) from None


def read_recipe(path: Path) -> TrainConfig:
    """Read a training recipe from a YAML file, a mapping of the fields of `TrainConfig`.

    Raises:
        UserError: There is no such file, or it holds no valid recipe.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: is no recipe; expected settings of a training, such as `epochs: 10`"
        )
    return TrainConfig.validated(content, str(path))
