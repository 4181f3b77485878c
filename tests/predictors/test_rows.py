"""Grouped training data: the same sums as all weights have, and as good a predictor from them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.compute import Hardware
from autos.errors import UserError
from autos.predictors.backbones import BACKBONES
from autos.predictors.config import PaperConfig
from autos.predictors.paper import evaluate
from autos.predictors.paper_fit import _Batches, fit_regression
from autos.predictors.rows import PIECE, SQUARES, Rows

CPU = torch.device("cpu")


def in_squares(cells, seed=0):
    """Inputs that lie well inside the given cells [n, k], wherever in them."""
    inside = torch.rand(cells.shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
    s = (cells + inside) / (SQUARES / 2) - 1
    return s / (1 - s.abs())


def weights(n, k=2, seed=0):
    """Inputs and labels of n weights of one network, several of them to a cell."""
    generator = torch.Generator().manual_seed(seed)
    cells = 200 + (12 * torch.randn(n, k, generator=generator)).long().clamp(-200, 200)
    labels = torch.randint(0, 11, (n,), generator=generator) / 10
    return cells, in_squares(cells, seed), labels


def groups(cells, inputs, labels):
    """Count, mean inputs, mean label and sum of squared distances by cell, in the cells' order."""
    _, group = np.unique(cells.numpy(), axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        x, y = (part.double().numpy()[group == number] for part in (inputs, labels))
        yield len(y), x.mean(axis=0), y.mean(), np.square(y - y.mean()).sum()


def plain_error(predicted, labels):
    return float((predicted.double() - labels.double()).square().mean())


# --- sums ---


@pytest.mark.parametrize("k", [1, 2])
def test_counts_means_and_spread_are_those_of_each_cell(k):
    cells, inputs, labels = weights(3000, k)
    rows = Rows.of([(inputs, labels)])
    counts, x, y, spread = zip(*groups(cells, inputs, labels), strict=True)
    assert max(counts) > 2 and len(counts) > 50
    assert rows.counts.tolist() == list(counts) and rows.total == 3000
    np.testing.assert_allclose(rows.inputs, np.stack(x), rtol=1e-6)
    np.testing.assert_allclose(rows.labels, y, rtol=1e-6)
    assert rows.spread == pytest.approx(sum(spread), rel=1e-9)


def test_networks_are_grouped_together():
    parts = [weights(n, seed=seed) for seed, n in enumerate((700, 1, 1300))]
    together = Rows.of([(inputs, labels) for _, inputs, labels in parts])
    joined = Rows.of([tuple(torch.cat(part) for part in list(zip(*parts, strict=True))[1:])])
    alone = Rows.of([parts[0][1:]])
    assert together.total == 2001 and len(alone.counts) < len(together.counts) < 2001
    assert torch.equal(together.counts, joined.counts)
    torch.testing.assert_close(together.inputs, joined.inputs)
    torch.testing.assert_close(together.labels, joined.labels)
    assert together.spread == pytest.approx(joined.spread)


def test_more_weights_than_one_piece_are_counted_once(monkeypatch):
    _, inputs, labels = weights(1000)
    whole = Rows.of([(inputs, labels)])
    monkeypatch.setattr("autos.predictors.rows.PIECE", 64)
    assert PIECE > 1000
    pieces = Rows.of([(inputs, labels)])
    assert torch.equal(pieces.counts, whole.counts)
    torch.testing.assert_close(pieces.labels, whole.labels)
    assert pieces.spread == pytest.approx(whole.spread)


def test_inputs_however_large_have_a_cell():
    inputs = torch.tensor([[1e30, -1e30], [1e30, 1e30], [-1e30, 0.0], [1e4, -1e4]])
    rows = Rows.of([(inputs, torch.arange(4.0))])
    assert sorted(rows.counts.tolist()) == [1, 1, 2]  # the first and the last go together
    assert rows.inputs.isfinite().all()


# --- the identity ---


def test_where_all_inputs_of_a_cell_are_equal_the_error_is_that_of_all_weights():
    cells, _, labels = weights(5000)
    inputs = in_squares(cells, seed=0)
    _, group = np.unique(cells.numpy(), axis=0, return_inverse=True)
    first = torch.from_numpy(np.unique(group, return_index=True)[1])
    inputs = inputs[first][group]  # each cell's first inputs for all of the cell
    rows = Rows.of([(inputs, labels)])
    assert len(rows.counts) < 2500
    network = BACKBONES["mlp"](2).eval()
    assert rows.mean_squared_error(evaluate(network, rows.inputs)) == pytest.approx(
        plain_error(evaluate(network, inputs), labels), rel=1e-6
    )


def test_otherwise_the_error_is_nearly_that_of_all_weights():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50_000, 2, generator=generator)
    labels = (torch.rand(50_000, generator=generator) < 0.3).float()
    network = BACKBONES["mlp"](2).eval()
    rows = Rows.of([(inputs, labels)])
    assert rows.mean_squared_error(evaluate(network, rows.inputs)) == pytest.approx(
        plain_error(evaluate(network, inputs), labels), rel=1e-4
    )


def test_labels_that_agree_have_no_spread_and_no_prediction_beats_the_means():
    cells, inputs, labels = weights(2000)
    agreed = (cells.sum(dim=1) % 7).float() / 7
    rows = Rows.of([(inputs, agreed)])
    assert rows.spread == pytest.approx(0, abs=1e-9)
    assert rows.mean_squared_error(agreed_rows := rows.labels) == pytest.approx(0, abs=1e-12)
    assert agreed_rows.unique().numel() == 7
    rows = Rows.of([(inputs, labels)])
    assert rows.mean_squared_error(rows.labels) == pytest.approx(rows.spread / 2000)
    assert rows.mean_squared_error(rows.labels + 0.1) == pytest.approx(rows.spread / 2000 + 0.01)


# --- training on rows ---


def config(**settings):
    return PaperConfig(backbone="mlp", **settings)


def test_rows_are_drawn_as_often_as_they_stand_for_weights():
    inputs = torch.tensor([[-1.0, 0.0]] * 1 + [[0.0, 0.0]] * 3 + [[1.0, 0.0]] * 6).repeat(1000, 1)
    rows = Rows.of([(inputs, inputs[:, 0])])
    batches = _Batches(rows, config(batch_size=100), CPU)
    drawn = torch.cat(list(batches))
    assert len(batches) == 100 and drawn.shape == (10_000, 3)
    share = [float((drawn[:, 2] == label).float().mean()) for label in (-1, 0, 1)]
    assert share == pytest.approx([0.1, 0.3, 0.6], abs=0.02)
    assert torch.equal(drawn[:, 0], drawn[:, 2])
    again = torch.cat(list(batches))
    assert not torch.equal(again, drawn), "every epoch draws anew"


def test_an_epoch_is_not_longer_for_ever_more_weights(monkeypatch):
    monkeypatch.setattr("autos.predictors.paper_fit.EPOCH", 1000)
    rows = Rows.of([weights(5000)[1:]])
    assert len(_Batches(rows, config(batch_size=64), CPU)) == 1000 // 64
    assert len(_Batches(Rows.of([weights(70)[1:]]), config(batch_size=64), CPU)) == 1
    (batch,) = _Batches(Rows.of([weights(5)[1:]]), config(batch_size=64), CPU)
    assert len(batch) == 5


def fit(network, rows, validation, **settings):
    return fit_regression(
        network,
        rows,
        validation=validation,
        config=config(**settings),
        hardware=Hardware(accelerator="cpu"),
    )


def test_the_errors_of_the_training_are_over_weights_not_groups():
    train, held = weights(20_000)[1:], weights(3000, seed=1)[1:]
    network = BACKBONES["mlp"](2)
    history = fit(network, Rows.of([train]), Rows.of([held]), lr=1e-12, epochs=2, batch_size=500)
    for key, (inputs, labels), rel in (("train_mse", train, 0.02), ("validation_mse", held, 1e-3)):
        expected = plain_error(evaluate(network, inputs), labels)
        assert history[key] == pytest.approx([expected] * 2, rel=rel)


def survival_like(n, seed):
    """Inputs with a wide gradient and, as labels, the noisy rounds that a weight survives."""
    generator = torch.Generator().manual_seed(seed)
    weight, gradient, wide, luck = torch.randn(4, n, generator=generator)
    inputs = torch.stack([weight, gradient * (0.7 * wide).exp()], dim=1)
    merit = 2 * weight.abs() - 1.5 + inputs[:, 1].abs().sqrt() * weight.tanh().abs() + luck
    return inputs, (20 * merit.sigmoid()).round() / 20


def row_by_row(network, inputs, labels, *, epochs, batch_size, lr):
    """The training without groups: all weights in a new order every epoch."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for _ in range(epochs):
        for part in torch.randperm(len(labels)).split(batch_size):
            optimizer.zero_grad()
            F.mse_loss(network(inputs[part]), labels[part]).backward()
            optimizer.step()


def test_the_predictor_from_rows_is_as_good_as_that_from_all_weights(monkeypatch):
    # Cells four times as wide, so that a hundred thousand weights fill them as millions would.
    monkeypatch.setattr("autos.predictors.rows.SQUARES", 128)
    train, held = survival_like(100_000, seed=0), survival_like(20_000, seed=1)
    rows = Rows.of([train])
    assert len(rows.counts) < 20_000
    settings = {"epochs": 3, "batch_size": 256, "lr": 3e-3}
    errors = []
    for grouped in (True, False):
        torch.manual_seed(0)
        network = BACKBONES["mlp"](2)
        if grouped:
            fit(network, rows, Rows.of([held]), **settings)
        else:
            row_by_row(network, *train, **settings)
        errors.append(plain_error(evaluate(network.eval(), held[0]), held[1]))
    assert errors[0] < 1.01 * errors[1] < 0.6 * float(held[1].var())


class Fixed(nn.Module):
    """Scores 0 but for inputs above a bound; training does not change it."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        return (inputs[:, 0] > self.bound).float() + 0 * self.nothing


def test_a_predictor_of_one_score_is_refused_however_many_weights_it_has():
    inputs = in_squares(torch.cartesian_prod(torch.arange(100, 300), torch.arange(100, 300)))
    rows = Rows.of([(inputs, torch.zeros(len(inputs)))])
    assert len(rows.counts) == 40_000
    fit(Fixed(inputs[:, 0].max() - 1e-3), rows, rows, epochs=1)
    with pytest.raises(UserError, match="gives every weight the same score: backbone 'mlp'"):
        fit(Fixed(torch.inf), rows, rows, epochs=1)
