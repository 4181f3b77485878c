"""Weights that a network starts from in the place of random ones."""

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from autos.errors import UserError, extra
from autos.network.prunable import prunable
from autos.storage.files import file_digest

TORCHVISION = "torchvision:"


def load_pretrained(model: nn.Module, source: str, *, new_head: bool = False) -> None:
    """Give `model` the weights of `source`, in place.

    Args:
        model: The network. Tied weights may stand in the file under one of their names.
        source: A safetensors file with the names of `model.state_dict()`, such as a trained
            network of the pipeline, or "torchvision:ResNet18_Weights.IMAGENET1K_V1", which is
            downloaded unless torch has it.
        new_head: Whether a last layer that is for another number of classes keeps the weights
            that it has; otherwise it is refused.

    Raises:
        UserError: There is no such file or name, or names or shapes differ.
    """
    state, own = _read(source), model.state_dict()
    _add_tied(state, own)
    head = list(prunable(model))[-1].removesuffix("weight") if new_head else None
    for name in {**own, **state}:
        want, have = (tuple(s[name].shape) if name in s else "absent" for s in (own, state))
        if want != have:
            of_head = head is not None and name.startswith(head)
            if of_head and "absent" not in (want, have) and want[1:] == have[1:]:
                state[name] = own[name]
            else:
                raise UserError(
                    f"weights {source} do not fit {type(model).__name__}: {name} is {have} there "
                    f"and {want} in the network"
                )
    model.load_state_dict(state)


def weights_digest(source: str) -> str:
    """Return what identifies weights: the digest of a file, or the name of torchvision's weights.

    Raises:
        UserError: There is no such file.
    """
    if source.startswith(TORCHVISION):
        return source
    if not Path(source).is_file():
        raise UserError(f"weights {source}: not found")
    return file_digest(Path(source))


def _add_tied(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Add the other names of tensors that the network knows by several, and the file by one."""
    places = {own[name].data_ptr(): name for name in state if name in own}
    for name, tensor in own.items():
        if name not in state and tensor.numel() and tensor.data_ptr() in places:
            state[name] = state[places[tensor.data_ptr()]]


def _read(source: str) -> dict[str, Tensor]:
    if source.startswith(TORCHVISION):
        with extra("pipeline"):
            from torchvision.models import get_weight  # The package takes seconds to import.

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
