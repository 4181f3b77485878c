"""Criteria in fewer rounds than their authors take, for tests of what rounds have no part in."""

from dataclasses import replace

from pydantic import create_model

from autos.methods.criteria import CRITERIA

FEW = 4


def few(criterion):
    rounds = criterion.settings.model_fields.get("rounds")
    if rounds is None or rounds.default <= 10:
        return criterion
    settings = create_model("Few", __base__=criterion.settings, rounds=(int, FEW))
    return replace(criterion, settings=settings)


QUICK = {name: few(criterion) for name, criterion in CRITERIA.items()}
"""All criteria, those of many rounds in a few."""
