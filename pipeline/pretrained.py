"""Weights that a network starts from in the place of random ones."""

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.files import file_digest
from pipeline.prunable import prunable

TORCHVISION = "torchvision:"


def load_pretrained(model: nn.Module, source: str) -> None:
    """Give `model` the weights of `source`, in place.

    A last layer for another number of classes keeps the weights that it has.

    Args:
        source: a safetensors file with the names of `model.state_dict()`, such as a trained
            network of stage `finetune`, or "torchvision:ResNet18_Weights.IMAGENET1K_V1", which is
            downloaded unless torch has it.

    Raises:
        UserError: there is no such file or name, or names or shapes differ.
    """
    state, own = _read(source), model.state_dict()
    head = list(prunable(model))[-1].removesuffix("weight")
    for name in {**own, **state}:
        want, have = (tuple(s[name].shape) if name in s else "absent" for s in (own, state))
        if want != have:
            if name.startswith(head) and "absent" not in (want, have) and want[1:] == have[1:]:
                state[name] = own[name]
            else:
                raise UserError(
                    f"weights {source} do not fit {type(model).__name__}: {name} is {have} there "
                    f"and {want} in the network"
                )
    model.load_state_dict(state)


def weights_digest(source: str) -> str:
    """What identifies the weights: torchvision's names do so themselves.

    Raises:
        UserError: there is no such file.
    """
    if source.startswith(TORCHVISION):
        return source
    if not Path(source).is_file():
        raise UserError(f"weights {source}: not found")
    return file_digest(Path(source))


def _read(source: str) -> dict[str, Tensor]:
    if source.startswith(TORCHVISION):
        from torchvision.models import get_weight  # the package takes a second

        try:
            weights = get_weight(source.removeprefix(TORCHVISION))
        except (ValueError, KeyError, AttributeError):
            raise UserError(
                f"weights {source}: torchvision has no such weights; expected for example "
                f"{TORCHVISION}ResNet18_Weights.IMAGENET1K_V1"
            ) from None
        try:
            return dict(weights.get_state_dict(progress=False))
        except OSError as error:
            raise UserError(f"weights {source}: cannot be downloaded: {error}") from None
    try:
        return safetensors.torch.load_file(source)
    except FileNotFoundError:
        raise UserError(f"weights {source}: not found") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights {source}: cannot be read: {error}") from None
