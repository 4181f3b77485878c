"""Settings of iterative rewind pruning."""

from typing import Annotated

from pydantic import AfterValidator, Field

from autos.config import Rounds, Seed, one_of
from autos.errors import unknown
from autos.images.loaders import ScoringConfig
from autos.methods.criteria import CRITERIA
from autos.methods.schedules import SCHEDULES
from autos.network.spec import NetworkConfig
from autos.training.recipe import TrainConfig


def _orders_weights(name: str) -> str:
    """Accept criteria whose scores order the weights of a trained network."""
    known = [criterion.name for criterion in CRITERIA.values() if not criterion.places]
    if name in CRITERIA and name not in known:
        raise ValueError(
            f"criterion {name!r} places as many weights in each layer as the density says, and "
            f"scores no trained weight; IRP takes {', '.join(sorted(known))}"
        )
    if name not in known:
        raise ValueError(unknown("IRP criterion", name, known))
    return name


class SourceConfig(NetworkConfig):
    """One network on which IRP is run."""

    criterion: Annotated[str, AfterValidator(_orders_weights)] = "snip"
    """The criterion that scores the trained weights in every round."""
    rounds: Rounds = 20
    """Number of rounds."""
    final_density: float = Field(default=0.01, gt=0, lt=1)
    """Density after the last round."""
    schedule: Annotated[str, one_of("schedule", SCHEDULES)] = "linear"
    """How the density falls from round to round."""
    scoring: ScoringConfig
    """Images for the criterion and for the initial gradient."""
    train: TrainConfig
    """Recipe of the training in every round."""
    seed: Seed = 0
    """Seed of the initialisation and of the scoring images, and with `repetition` of all else."""
    repetition: int = Field(default=0, ge=-(10**9), le=10**9)
    """Number of the repetition; another one begins with the same weights, but trains with another
    order of the images."""

    @property
    def training_seed(self) -> int:
        """Seed of the trainings, which is the same in every round."""
        return self.seed + 1000 * self.repetition

    @property
    def densities(self) -> list[float]:
        """Density after each round."""
        return SCHEDULES[self.schedule](self.final_density, self.rounds)
