"""Reading of the sections of params.yaml."""

from pathlib import Path
from typing import TypeVar

from autos.config import Config
from autos.errors import UserError
from autos.storage.files import read_yaml

PARAMS = Path("params.yaml")

C = TypeVar("C", bound=Config)


def section(kind: type[C], name: str) -> C:
    """Read one section of params.yaml.

    Args:
        kind: Class of the settings in the section.
        name: Name of the section.

    Raises:
        UserError: The file or the section is missing, or the file is not YAML.
        SettingError: A value is not valid.
    """
    if not PARAMS.exists():
        raise UserError(f"{PARAMS}: not found; run from the root of the repository")
    content = read_yaml(PARAMS)
    if not isinstance(content, dict) or name not in content:
        raise UserError(f"{PARAMS}: section {name!r} is missing")
    return kind.validated(content[name], name)
