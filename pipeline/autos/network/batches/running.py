"""A model, run on a batch of any form."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from autos.errors import UserError, brief
from autos.network.batches.forms import LABELS, Batch, form_of, size
from autos.network.cost import count
from autos.network.prunable import unwrap


def run(model: nn.Module, batch: Batch) -> Any:
    """Run a model on the inputs of a batch, and on the labels if it has an argument for them.

    A mapping of the model's arguments is taken apart, with its labels if the model names them or
    takes any keyword; so are a tuple or list of inputs. A model with a single argument gets a
    mapping or list whole, unless its argument is one of the names, or it is a tuple of one.

    Returns:
        What the model returns.

    Raises:
        UserError: The model fails.
    """
    count(forward=size(batch))
    try:
        return _call(model, batch)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the model fails on a batch: {type(error).__name__}: {brief(error)}"
        ) from error


def _call(model: nn.Module, batch: Batch) -> Any:
    form = form_of(batch)
    parameters = _arguments(model)
    single = parameters[0].name if len(parameters) == 1 and _placed(parameters[0]) else None
    if isinstance(form, Mapping):
        takes_labels = any(p.name == LABELS or p.kind is p.VAR_KEYWORD for p in parameters)
        inputs: Any = {k: v for k, v in form.items() if k != LABELS or takes_labels}
        whole = batch
    elif isinstance(form, (tuple, list)):
        inputs = whole = form[0]
    else:
        return model(batch)
    if isinstance(inputs, Mapping):
        return model(**inputs) if single is None or single in inputs else model(whole)
    if isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
        spread = single is None or (isinstance(inputs, tuple) and len(inputs) == 1)
        return model(*inputs) if spread else model(inputs)
    return model(inputs)


def _arguments(model: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(unwrap(model).forward).parameters.values())
    except (TypeError, ValueError):  # It is compiled, and does not tell.
        return []


def _placed(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
