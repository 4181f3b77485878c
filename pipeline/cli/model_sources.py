"""From the name of a model on the command line to the model."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import nn

from models import ARCHITECTURES
from models._init import initialize
from pipeline.cli.user_code import explained, load
from pipeline.errors import UserError, unknown
from pipeline.pretrained import TORCHVISION, load_pretrained
from pipeline.working_copy import random_state


@dataclass(frozen=True)
class ImageForm:
    """What an architecture of `models` is built for."""

    classes: int
    channels: int
    size: int
    """Height and width in pixels."""


def build(
    name: str, *, seed: int, form: Callable[[], ImageForm], weights: str | None = None
) -> nn.Module:
    """The model by that name, on the CPU, in eval mode. Nothing is downloaded.

    Args:
        name: an entry of `ARCHITECTURES`, "torchvision:NAME", "timm:NAME", "hf:DIRECTORY" or
            "package.module:factory".
        seed: of the initial weights.
        form: asked for only if the model is an entry of `ARCHITECTURES`.
        weights: safetensors file with all parameters and buffers, or "torchvision:NAME".

    Raises:
        UserError: there is no such model, the library it needs is absent, or the weights do not
            fit.
    """
    source, colon, rest = name.partition(":")
    with random_state(seed):
        if not colon:
            model = _architecture(name, form, seed)
        elif source in LIBRARIES:
            model = LIBRARIES[source](rest)
        else:
            model = _made_by(name)
    if weights is not None:
        _load_weights(model, weights)
    return model.eval()


def _architecture(name: str, form: Callable[[], ImageForm], seed: int) -> nn.Module:
    if name not in ARCHITECTURES:
        raise UserError(
            f"{unknown('architecture', name, ARCHITECTURES)}; or torchvision:NAME, timm:NAME, "
            "hf:DIRECTORY, package.module:factory"
        )
    images = form()
    try:
        model = ARCHITECTURES[name](
            num_classes=images.classes,
            in_channels=images.channels,
            image_size=images.size,
            width=1.0,
        )
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    return initialize(model, seed)


def _torchvision(name: str) -> nn.Module:
    import torchvision.models

    known = torchvision.models.list_models()
    if name not in known:
        raise UserError(_nearest("torchvision", name, known))
    builder = torchvision.models.get_model_builder(name)
    accepted = inspect.signature(builder).parameters
    # Detection and segmentation models download a backbone unless told not to.
    none = {part: None for part in ("weights", "weights_backbone") if part in accepted}
    return builder(**none)


def _timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("timm is not installed: pip install 'autos[timm]'") from None
    if not timm.is_model(name):
        raise UserError(_nearest("timm", name, timm.list_models()))
    with explained(f"timm:{name}"):
        return timm.create_model(name, pretrained=False)


def _transformers(folder: str) -> nn.Module:
    try:
        import transformers
    except ImportError:
        raise UserError(
            "transformers is not installed: pip install 'autos[transformers]'"
        ) from None
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"hf:{folder}: no config.json there; name the folder of a local model")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    local = {"local_files_only": True, "trust_remote_code": False}
    with explained(f"hf:{folder}"):
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        wanted = (config.architectures or ["AutoModel"])[0]
        kind = getattr(transformers, wanted, transformers.AutoModel)
        return kind.from_pretrained(folder, config=config, use_safetensors=True, **local)


LIBRARIES: dict[str, Callable[[str], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}


def _made_by(name: str) -> nn.Module:
    factory = load(name)
    with explained(name):
        model = factory()
    if not isinstance(model, nn.Module):
        raise UserError(f"{name}: returns {type(model).__name__}, not a torch.nn.Module")
    return model


def _load_weights(model: nn.Module, source: str) -> None:
    if source.startswith(TORCHVISION):
        load_pretrained(model, source)
        return
    file = Path(source)
    if not file.is_file():
        raise UserError(f"{file}: not found")
    with explained(str(file)):
        safetensors.torch.load_model(model, file)


def _nearest(library: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {library} model {name!r}{hint}"
