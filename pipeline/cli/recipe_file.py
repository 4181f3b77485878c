"""A training recipe that the user gives as a file."""

from pathlib import Path

import yaml

from pipeline.errors import UserError
from pipeline.recipes import TrainConfig


def read_recipe(path: Path) -> TrainConfig:
    """The recipe in a YAML file, a mapping of the fields of `TrainConfig`.

    Raises:
        UserError: there is no such file, it is not YAML, or no valid recipe.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not found") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: is no recipe; expected settings of a training, such as `epochs: 10`, as in "
            "section finetune of params.yaml"
        )
    return TrainConfig.validated(content, str(path))
