"""Learning-rate rewinding (Renda et al., ICLR 2020, algorithm 2): IMP that keeps the weights.

Only the learning-rate schedule goes back to its beginning after each cut; the weights go on as
they are. The mask belongs to the trained weights, from which the last training starts, and not to
the initialisation.
"""

from torch import nn

from pipeline.budget import Budget
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods._cycles import Settings, cycles
from pipeline.schedules import geometric


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    densities = geometric(context.density, context.settings.pruned)
    mask = cycles(model, densities, lambda mask, _: budget.train(model, mask=mask), rewind=False)
    return Found(mask, start=model.state_dict())


METHOD = TrainingMethod(
    search,
    paper="Renda et al., ICLR",
    year=2020,
    cost="1 training per 20 % pruned",
    settings=Settings,
)
