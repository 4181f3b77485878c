"""Batches of noise for a first look at a model without data."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autos.cli.data import Data
from autos.errors import UserError
from autos.images.image_set import ImageForm
from autos.network.batches import Batch, logits, run
from autos.network.prunable import slots
from autos.pruning import check_prunable

NAME = "random"
SIDE, TOKENS = 224, 32
"""Side of an image in pixels, and length of a text in tokens, if the model does not tell."""

SMALL = (3, 32, 32)
CLASSES = 10
"""Shape of an image, and number of classes, that the project's architectures are built for, if
nothing else is said."""


def image_form(shape: tuple[int, ...]) -> ImageForm:
    """Return the form of images of a shape [channels, side, side].

    Raises:
        UserError: The shape is not that of a square image.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise UserError(f"--shape {_text(shape)}: this model takes square images, as in 3,32,32")
    return ImageForm(CLASSES, channels=shape[0], size=shape[1])


def noise(
    model: Any, *, shape: tuple[int, ...] | None, samples: int, seed: int, labelled: bool
) -> Data:
    """Draw one batch of random inputs, normal or token ids, with random labels.

    Args:
        model: Module in eval mode.
        shape: Shape of one sample; None finds it from the model.
        samples: Number of samples in the batch.
        seed: Seed of the inputs and labels.
        labelled: Whether there must be labels.

    Raises:
        UserError: The model has no prunable weight, the shape is not found or not accepted, or
            there must be labels and the output has no classes.
    """
    check_prunable(model)  # A model without layers has no shape to be found.
    generator = torch.Generator().manual_seed(seed)
    tokens = getattr(model, "main_input_name", None) == "input_ids"
    shape = shape or (_text_shape(model) if tokens else _image_shape(model))
    if tokens:
        ids = torch.randint(model.config.vocab_size, (samples, *shape), generator=generator)
        inputs: Any = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids
    else:
        inputs = torch.randn(samples, *shape, generator=generator)
    labels = _labels(_output(model, inputs, shape), inputs, generator)
    if labels is None and labelled:
        raise UserError(
            f"{NAME}: {type(model).__name__} has no output of two or more classes to draw labels "
            "from; give --loss package.module:function"
        )
    about = {"name": NAME, "noise": True, "shape": list(shape), "samples": samples}
    return Data([_batch(inputs, labels, samples)], about)


def _batch(inputs: Any, labels: Tensor | None, samples: int) -> Batch:
    if isinstance(inputs, Mapping):
        return {**inputs, **({} if labels is None else {"labels": labels})}
    return inputs, torch.zeros(samples, dtype=torch.long) if labels is None else labels


def _image_shape(model: nn.Module) -> tuple[int, ...]:
    told = getattr(model, "default_cfg", None)  # Models of timm have it.
    if isinstance(told, Mapping) and "input_size" in told:
        return tuple(told["input_size"])
    first = next((layer for _, layer, _ in slots(model)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    if isinstance(first, nn.Conv2d):
        return (first.in_channels, *_sides(model))
    raise UserError(f"{NAME}: what shape the model takes is not seen; give it, as --shape 1,16000")


def _sides(model: nn.Module) -> tuple[int, int]:
    for holder in (model, getattr(model, "config", None)):
        size = getattr(holder, "image_size", None)  # Vision transformers have it.
        if isinstance(size, int):
            return size, size
        if isinstance(size, (tuple, list)) and len(size) == 2:
            return size[0], size[1]
    return SIDE, SIDE


def _text_shape(model: Any) -> tuple[int, ...]:
    return (min(TOKENS, getattr(model.config, "max_position_embeddings", TOKENS)),)


@torch.no_grad()
def _output(model: nn.Module, inputs: Any, shape: tuple[int, ...]) -> Any:
    try:
        return run(model, inputs if isinstance(inputs, Mapping) else (inputs,))
    except UserError as error:
        raise UserError(
            f"{NAME}: {error} (a sample has shape {_text(shape)}; --shape gives another)"
        ) from None


def _labels(output: Any, inputs: Any, generator: torch.Generator) -> Tensor | None:
    """Draw labels for an output [n, classes, ...], or [n, length, classes] of n texts.

    None means that the output has no classes.
    """
    if hasattr(output, "to_tuple") and "logits" not in output:
        return None  # Base models of transformers return features.
    scores = logits(output)
    if scores.ndim < 2:
        return None
    if isinstance(inputs, Mapping) and scores.shape[:-1] == inputs["input_ids"].shape:
        *shape, classes = scores.shape
    else:
        count, classes, *rest = scores.shape
        shape = [count, *rest]
    return torch.randint(classes, shape, generator=generator) if classes > 1 else None


def _text(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
