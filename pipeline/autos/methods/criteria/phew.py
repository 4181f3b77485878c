"""PHEW (Patil and Dovrolis, ICML 2021): the weights on random walks from input to output.

From a unit a walk takes one of the weights that leave it, with a probability in proportion to |w|,
kernel elements included. Every other walk goes backward, from an output along the weights that
arrive. Walks start at all inputs and outputs in turn, in a random order, until there are enough
weights. Where a unit feeds several layers (residual connections) they are equally likely, and so
are the layers that feed a unit; the authors' code follows the shortcuts of its own ResNets only.

Only whole walks are taken, so the last few weights (the authors exceed the density instead) are the
largest of those that join two units on paths: every kept weight lies on a path. Near density 1,
when ten walks do not find one new weight, the rest is chosen in the same way. Weights that lie on
no path at all come last.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autos.config import Config
from autos.errors import UserError
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.prunable import prunable
from autos.network.wiring import Call, connections

START, END = 0, 1
"""Nodes of the graph; the others are inputs and outputs of the layers."""
WALKS = 1000
"""Number of walks drawn at once."""
FEW = WALKS // 10
"""Number of new weights that `WALKS` walks have to find for walking to go on."""


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score 2 for weights on walks, and less for all others.

    Of the others, a weight that joins units on walks scores 1 and a fraction that grows with its
    magnitude; the rest score that fraction alone.

    Raises:
        UserError: No path leads through a layer, or a path has more weights than the density keeps.
    """
    weights = {name: weight.detach().cpu().clone() for name, weight in prunable(model).items()}
    values = torch.cat([weight.flatten() for weight in weights.values()]).abs()
    sizes = [weight.numel() for weight in weights.values()]
    budget = round(context.density * len(values))
    calls = connections(model, next(iter(context.batches)))
    graph = Graph(calls, weights)
    walkable = torch.zeros(len(values), dtype=torch.bool)
    walkable[graph.weight[graph.weight >= 0]] = True
    parts = dict(zip(weights, walkable.split(sizes), strict=True))
    for call in calls:
        if not parts[call.name].any():
            raise UserError(f"phew cannot walk through {call.name} from input to output")
    walked = walked_edges(graph, budget, context.generator)

    on_walks = torch.zeros(len(values), dtype=torch.bool)
    on_walks[graph.weight[walked & (graph.weight >= 0)]] = True
    if not on_walks.any():
        raise UserError(
            f"density {context.density:g} keeps {budget} of {len(values)} weights: a path from "
            "input to output has more"
        )
    joining = torch.zeros_like(on_walks)
    joining[graph.weight[graph.joining(walked)]] = True
    scores = torch.where(on_walks, 2, joining + values / (1 + values.max()))
    return {
        name: part.view(weight.shape)
        for part, (name, weight) in zip(scores.split(sizes), weights.items(), strict=True)
    }


@dataclass
class Edges:
    """Edges of one kind.

    Attributes:
        source: Node at which each edge begins, [edges].
        target: Node at which each edge ends, [edges].
        weight: Number of each edge's weight among all weights, or -1 for a link between layers,
            [edges].
        leave: Chance that a forward walk takes an edge, in proportion to the chances of the other
            edges from its source, [edges].
        arrive: Chance that a backward walk takes an edge, in proportion to the chances of the other
            edges to its target, [edges].
    """

    source: Tensor
    target: Tensor
    weight: Tensor
    leave: Tensor
    arrive: Tensor

    def __getitem__(self, where: Tensor) -> "Edges":
        return Edges(*(part[where] for part in vars(self).values()))


class Graph(Edges):
    """All edges that lie on a path from START to END."""

    def __init__(self, calls: list[Call], weights: dict[str, Tensor]) -> None:
        blocks, self.nodes = _blocks(calls, weights)
        # Blocks are in the order of the calls, so one sweep in each direction sees all paths.
        reached, useful = (torch.zeros(self.nodes, dtype=torch.bool) for _ in range(2))
        reached[START] = useful[END] = True
        for block in blocks:
            reached[block.target[reached[block.source] & (block.leave > 0)]] = True
        for block in reversed(blocks):
            useful[block.source[useful[block.target] & (block.leave > 0)]] = True
        blocks = [
            block[reached[block.source] & useful[block.target] & (block.leave > 0)]
            for block in blocks
        ]
        for block in blocks:
            if (block.weight < 0).all():  # Every layer that a unit feeds is equally likely.
                block.leave = 1 / torch.bincount(block.source)[block.source].double()
        parts = zip(*(vars(block).values() for block in blocks), strict=True)
        super().__init__(*(torch.cat(part) for part in parts))

    def joining(self, walked: Tensor) -> Tensor:
        """Mark the weights that lead from a unit on a walk to a unit on a walk, [edges].

        Units that a link connects with a unit on a walk count as well.

        Args:
            walked: Whether each edge is on a walk, [edges].
        """
        active = torch.zeros(self.nodes, dtype=torch.bool)
        active[self.source[walked]] = active[self.target[walked]] = True
        fed, feeding = active.clone(), active.clone()
        links = self.weight < 0
        fed[self.target[links & active[self.source]]] = True
        feeding[self.source[links & active[self.target]]] = True
        return ~links & fed[self.source] & feeding[self.target]


def _blocks(calls: list[Call], weights: dict[str, Tensor]) -> tuple[list[Edges], int]:
    first: dict[str, int] = {}
    count = 0
    for name, weight in weights.items():
        first[name] = count
        count += weight.numel()
    blocks, inputs, outputs = [], [], []
    nodes = 2
    for call in calls:
        weight = weights[call.name]
        number = first[call.name] + torch.arange(weight.numel()).view(weight.shape)
        weight, number = call.layout.by_unit(weight), call.layout.by_unit(number)
        size, depth = weight.shape[:2]
        inputs.append(nodes + torch.arange(len(call.entries)))
        outputs.append(nodes + len(call.entries) + torch.arange(size))
        nodes += len(call.entries) + size

        entered = inputs[-1][call.entries]
        blocks.append(_links(torch.full_like(entered, START), entered))
        for producer, source in call.sources.items():
            fed = source >= 0
            blocks.append(_links(outputs[producer][source[fed]], inputs[-1][fed]))
        row = torch.arange(size)
        group = row // (size // (len(call.entries) // depth))
        column = (group * depth)[:, None] + torch.arange(depth)
        flat = weight.flatten(2) if weight.ndim > 2 else weight[..., None]
        blocks.append(
            Edges(
                inputs[-1][column][..., None].expand_as(flat).flatten(),
                outputs[-1][:, None, None].expand_as(flat).flatten(),
                number.reshape(-1),
                flat.abs().flatten(),
                flat.abs().flatten(),
            )
        )
    for call, units in zip(calls, outputs, strict=True):
        left = units[call.exits]
        blocks.append(_links(left, torch.full_like(left, END)))
    return blocks, nodes


def _links(source: Tensor, target: Tensor) -> Edges:
    chance = torch.ones(len(source), dtype=torch.float64)
    return Edges(source, target, torch.full_like(source, -1), chance, chance)


def walked_edges(graph: Graph, budget: int, generator: torch.Generator) -> Tensor:
    """Mark the edges of walks that together have at most `budget` weights, [edges]."""
    forward = Walker(graph.source, graph.target, graph.leave, goal=END, generator=generator)
    backward = Walker(graph.target, graph.source, graph.arrive, goal=START, generator=generator)
    starts = _shuffled((graph.source == START).nonzero().flatten(), generator)
    ends = _shuffled((graph.target == END).nonzero().flatten(), generator)
    walked = torch.zeros(len(graph.source), dtype=torch.bool)
    kept = torch.zeros(int(graph.weight.max()) + 1, dtype=torch.bool)
    room, turn = budget, 0
    while True:
        turns = torch.arange(turn, turn + WALKS // 2)
        turn += WALKS // 2
        ahead = forward.walk(starts[turns % len(starts)])
        back = backward.walk(ends[turns % len(ends)])
        steps = max(len(ahead), len(back))
        walks = torch.full((2, WALKS // 2, steps), -1)
        walks[0, :, : len(ahead)] = ahead.T
        walks[1, :, : len(back)] = back.T
        walks = walks.transpose(0, 1).flatten(0, 1)  # Both directions take turns.

        weight = torch.where(walks < 0, -1, graph.weight[walks])
        place = ((weight >= 0) & ~kept[weight]).flatten().nonzero().flatten()
        found, number = weight.flatten()[place].unique(return_inverse=True)
        first = torch.full_like(found, walks.numel()).scatter_reduce(0, number, place, "amin")
        total = torch.bincount(first // steps, minlength=WALKS).cumsum(0)
        whole = total <= room
        taken = walks[whole]
        walked[taken[taken >= 0]] = True
        kept[weight[whole][weight[whole] >= 0]] = True
        if not whole.all() or total[-1] < FEW:
            return walked
        room -= int(total[-1])


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=generator)]


class Walker:
    """Draws walks in one direction."""

    def __init__(
        self, here: Tensor, there: Tensor, chance: Tensor, *, goal: int, generator: torch.Generator
    ) -> None:
        """Prepare the drawing.

        Args:
            here: Node from which a walk takes each edge, [edges].
            there: Node to which each edge takes a walk, [edges].
            chance: Chance of each edge, in proportion to the others from its node, [edges].
            goal: Node where walks end.
            generator: Source of randomness, on the CPU.
        """
        self.order = here.argsort(stable=True)
        self.sums = torch.cat([torch.zeros(1, dtype=torch.float64), chance[self.order].cumsum(0)])
        counts = torch.bincount(here, minlength=int(there.max()) + 1)
        self.stop = counts.cumsum(0)
        self.start = self.stop - counts
        self.there, self.goal, self.generator = there, goal, generator

    def walk(self, edges: Tensor) -> Tensor:
        """Go on from the ends of these edges to the goal.

        Args:
            edges: First edge of each walk, [walks].

        Returns:
            Edges of each walk, [steps, walks]; -1 after its end.
        """
        trail = [edges]
        while (moving := self.there[edges] != self.goal).any():
            step = torch.full_like(edges, -1)
            step[moving] = self._draw(self.there[edges[moving]])
            trail.append(step)
            edges = torch.where(moving, step, edges)
        return torch.stack(trail)

    def _draw(self, nodes: Tensor) -> Tensor:
        """Draw an edge from each node, [walks]."""
        start, stop = self.start[nodes], self.stop[nodes]
        low, high = self.sums[start], self.sums[stop]
        uniform = torch.rand(len(nodes), generator=self.generator, dtype=torch.float64)
        index = torch.searchsorted(self.sums, low + uniform * (high - low), right=True) - 1
        return self.order[index.clamp(start, stop - 1)]


CRITERION = Criterion(
    "phew",
    score,
    double=True,
    batch_norm="eval",
    data="none",
    paper="Patil and Dovrolis, ICML",
    year=2021,
    places=True,
    cost="3 passes of 1 sample per layer",
)
