"""JSON files that a later step believes: each carries its kind, its version and its checksum."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

from autos.config import Config
from autos.errors import DamagedFileError, MissingFileError, SettingError, UserError
from autos.storage.files import check_kind, write_json


class Record(Config):
    """The content of such a file; a class of records is the schema of its files."""

    KIND: ClassVar[str]
    """What a file is, for example "table of masks"; reading checks it."""
    VERSION: ClassVar[int]
    """Version of the file's form; reading refuses another one."""

    def save(self, path: Path) -> None:
        """Write the file, atomically; the same content gives the same bytes."""
        content = {
            "kind": self.KIND,
            "version": self.VERSION,
            **self.model_dump(mode="json", exclude_unset=True),
        }
        write_json(path, {**content, "sha256": digest(content)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote.

        Raises:
            MissingFileError: There is no such file.
            DamagedFileError: It is altered, or of another version, or does not have this schema.
            UserError: It is of another kind, or cannot be read.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFileError(f"{path}: not found") from None
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(f"{path}: damaged ({error})") from None
        check_kind(path, content, kind=cls.KIND, version=cls.VERSION)
        if content.pop("sha256", None) != digest(content):
            raise DamagedFileError(f"{path}: damaged (content does not match its checksum)")
        del content["kind"], content["version"]
        try:
            return cls.validated(content, str(path))
        except SettingError as error:
            raise DamagedFileError(str(error)) from None


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 over a content as JSON, whatever the layout of its file."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
