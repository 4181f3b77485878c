"""Figures of a report against numbers worked out by hand."""

import json
import math

import pytest

from autos.grid.cell import MaskRow, ResultRow
from autos.report.results import Results, Spread, metrics
from autos.report.tables import (
    accuracy_table,
    before_table,
    cost_table,
    difference_table,
    flops_table,
    markdown,
    overlap_table,
    sanity_table,
    verdict,
)

T_975 = {1: 12.7062047, 2: 4.3026527}
"""Student's t: 97.5 % quantiles by degrees of freedom, from tables."""

TEST = {
    "autos": {0.1: [0.80, 0.84, 0.88], 0.01: [0.50, 0.60, 0.70]},
    "snip": {0.1: [0.78, 0.80, 0.85], 0.01: [0.60, 0.60, 0.60]},
    "random": {0.1: [0.90, 0.90, 0.90], 0.01: [0.20, 0.20, 0.20]},
}
VALIDATION = {
    "autos": {0.1: 0.81, 0.01: 0.6},
    "snip": {0.1: 0.79, 0.01: 0.6},
    "random": {0.1: 0.70, 0.01: 0.2},  # the best on test images at 0.1, but not on these
}


def row(method, density, seed, accuracy, **changes):
    fields = {
        "target": "lenet",
        "method": method,
        "kind": "predictor" if method == "autos" else "score",
        "density": density,
        "seed": seed,
        "test_accuracy": accuracy,
        "test_accuracy_before": 0.1,
        "train_loss": [1.0, 0.5],
        "dense_flops": 200,
        "kept": round(1234 * density),
        "total": 1234,
    }
    return ResultRow(**fields | changes)


def rows(seeds=3, methods=("random", "snip", "autos"), dense=True):
    for method in methods:
        for density, accuracies in TEST[method].items():
            for seed, accuracy in list(enumerate(accuracies))[:seeds]:
                validation = [0.99, VALIDATION[method][density]]
                flops = round(100 * density) + 2 * seed
                yield row(
                    method, density, seed, accuracy, validation_accuracy=validation, flops=flops
                )
    if dense:
        for seed in range(seeds):
            known = {"kind": "dense", "validation_accuracy": [0.95], "flops": 200}
            yield row("dense", 1.0, seed, 0.95, **known)


def mask(method, file="", *, check=None, kind="score", empty_layers=(), **cost):
    cost = {"forward": 300, "backward": 100, "epochs": 0.25, "flops": 5_000_000, **cost}
    return MaskRow(
        target="lenet",
        method=method,
        density=0.1,
        seed=0,
        check=check,
        kind=kind,
        file=file,
        sha256="",
        start=None,
        start_sha256=None,
        step=0,
        trained=False,
        kept=123,
        total=1234,
        layer_densities={},
        empty_layers=list(empty_layers),
        cost=cost,
    )


@pytest.fixture
def three():
    return Results(rows())


@pytest.fixture
def one():
    return Results(rows(seeds=1))


def test_the_spread_is_the_mean_and_the_sample_deviation():
    spread = Spread.of([0.80, 0.84, 0.88])
    assert (spread.mean, spread.n) == (pytest.approx(0.84), 3)
    assert spread.std == pytest.approx(0.04)  # sqrt((0.04² + 0 + 0.04²) / 2)
    assert spread.percent() == "84.0 ± 4.0"
    assert math.isnan(Spread.of([0.8]).std)
    assert Spread.of([0.8]).percent() == "80.0"


def test_the_difference_is_paired_by_seed_with_student_s_interval(three):
    found = three.difference("lenet", 0.1, confidence=0.95)
    # Against snip: 0.02, 0.04, 0.03; mean 0.03, sample deviation 0.01.
    half = T_975[2] * 0.01 / math.sqrt(3)
    assert found.other == "snip"
    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == (pytest.approx(0.03 - half), pytest.approx(0.03 + half))


def test_the_difference_does_not_depend_on_the_order_of_the_rows():
    forward = Results(rows()).difference("lenet", 0.1, 0.95)
    backward = Results(reversed(list(rows()))).difference("lenet", 0.1, 0.95)
    assert backward.other == forward.other
    assert (backward.mean, backward.low) == pytest.approx((forward.mean, forward.low))


def test_two_seeds_and_another_confidence():
    found = Results(rows(seeds=2)).difference("lenet", 0.1, confidence=0.95)
    half = T_975[1] * (0.02 / math.sqrt(2)) / math.sqrt(2)  # of 0.02 and 0.04
    assert (found.mean, found.high) == (pytest.approx(0.03), pytest.approx(0.03 + half))
    wide = Results(rows(seeds=2)).difference("lenet", 0.1, confidence=0.5)
    assert wide.high - wide.mean == pytest.approx(0.01)  # the quartile of one degree is 1


def test_the_best_is_chosen_on_validation_and_not_on_test_images(three):
    assert max(TEST, key=lambda name: TEST[name][0.1][0]) == "random"
    assert three.difference("lenet", 0.1, 0.95).other == "snip"


def test_there_is_no_difference_without_autos_or_without_others():
    assert Results(rows(methods=("snip", "random"))).difference("lenet", 0.1, 0.95) is None
    alone = Results(rows(methods=("autos",)))
    assert alone.difference("lenet", 0.1, 0.95) is None
    assert difference_table(alone, "lenet", 0.95) == []
    assert "autos_minus_best" not in metrics(alone, 0.95)["lenet"]


def test_metrics_hold_the_figures_of_all_rows(three):
    found = metrics(three, 0.95)["lenet"]
    assert found["snip"]["0.1"] == {"mean": 0.81, "std": 0.036056}
    assert found["dense"] == {"1": {"mean": 0.95, "std": 0.0}}
    assert found["autos_minus_best"]["0.1"] == {
        "best": "snip",
        "mean": 0.03,
        "low": 0.005159,
        "high": 0.054841,
    }
    assert found["autos_minus_best"]["0.01"]["mean"] == 0


def test_one_seed_gives_no_interval_and_metrics_that_strict_json_takes(one):
    found = metrics(one, 0.95)
    json.dumps(found, allow_nan=False)
    assert found["lenet"]["autos_minus_best"]["0.1"] == {"best": "snip", "mean": 0.02}
    assert found["lenet"]["autos"]["0.1"] == {"mean": 0.8}
    assert difference_table(one, "lenet", 0.95)[2] == "| 10 % | snip | +2.0 | n/a |"


def test_the_accuracy_table_marks_the_highest_means(three):
    assert accuracy_table(three, "lenet") == [
        "| method | 10 % | 1 % |",
        "| --- | ---: | ---: |",
        "| random | **90.0 ± 0.0** | 20.0 ± 0.0 |",
        "| snip | 81.0 ± 3.6 | **60.0 ± 0.0** |",
        "| autos | 84.0 ± 4.0 | **60.0 ± 10.0** |",
    ]


def test_the_difference_table(three):
    assert difference_table(three, "lenet", 0.95) == [
        "| density | best hand-made | AutoS minus best | 95% interval |",
        "| --- | ---: | ---: | ---: |",
        "| 10 % | snip | +3.0 | [+0.5, +5.5] |",
        "| 1 % | snip | +0.0 | [-24.8, +24.8] |",
    ]


def test_the_flops_table_is_in_per_cent_of_dense(three):
    assert flops_table(three, "lenet")[2] == "| random | 6.0 | 1.5 |"  # 10, 12, 14; 1, 3, 5 of 200


def test_the_overlap_table_ends_in_the_lowest_density():
    densities = [round(1 - i / 20, 2) for i in range(1, 20)]
    network = {"densities": densities, "overlap": {"autos": densities, "snip": [0.5] * 19}}
    table = overlap_table(network)
    assert table[0] == "| density | autos | snip |"
    assert table[2] == "| 95 % | 95.0 | 50.0 |"
    assert table[-1] == "| 5 % | 5.0 | 50.0 |"
    assert len(table) == len(set(table)) == 2 + 7


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_overlap_table_shows_every_one_of_a_few_rounds(rounds):
    network = {"densities": [0.7, 0.4, 0.1][-rounds:], "overlap": {"autos": [0.5] * rounds}}
    assert len(overlap_table(network)) == 2 + rounds


def test_the_report_names_dense_accuracy_empty_layers_and_the_predictors_figures(three):
    masks = [
        mask("random", "lenet/random.safetensors"),
        mask("snip", "lenet/snip.safetensors", empty_layers=["fc1.weight"]),
    ]
    source = {
        "held_out": 1200,
        "mse": 0.0123,
        "label_variance": 0.0831,
        "spearman": {"autos_paper": 0.5, "snip": 0.25},
        "densities": [0.5, 0.1],
        "overlap": {"autos_paper": [0.8, 0.4], "snip": [0.7, 0.3]},
    }
    coefficients = {"path": 0.65, "unit": -0.168}
    text = markdown(three, masks, coefficients, {"networks": {"source": source}}, 0.95)
    assert "| path | unit |\n| --- | ---: |\n| +0.650 | -0.168 |" in text
    assert "Dense: 95.0 ± 0.0 (1,234 weights, n = 3)." in text
    assert "- `lenet/snip.safetensors` keeps nothing in fc1.weight" in text
    assert "lenet/random.safetensors" not in text
    assert "On 1,200 weights held out from training: mean squared error 0.0123" in text
    assert "autos_paper 0.500, snip 0.250" in text
    assert "| 10 % | 40.0 | 30.0 |" in text
    one = Results(rows(seeds=1))
    assert "nan" not in markdown(one, masks, coefficients, {"networks": {}}, 0.95)


def checked(loss, check="shuffle", density=0.1):
    """The rows of snip at a density, each worse by `loss`."""
    for one in rows(methods=("snip",), dense=False):
        if one.density == density:
            worse = one.test_accuracy - loss[one.seed]
            yield one.model_copy(update={"check": check, "test_accuracy": worse})


def test_checks_are_not_among_the_results_but_compared_with_them_by_seed():
    results = Results([*rows(), *checked([0.10, 0.12, 0.14]), *checked([0, 0, 0], "invert")])
    assert list(results.checks) == ["shuffle", "invert"]
    assert results.accuracy("lenet", "snip", 0.1).mean == pytest.approx(0.81)
    lost = results.loss_by("shuffle", "lenet", "snip", 0.1, 0.95)
    half = T_975[2] * 0.02 / math.sqrt(3)
    assert (lost.mean, lost.low) == (pytest.approx(0.12), pytest.approx(0.12 - half))
    assert results.loss_by("shuffle", "lenet", "snip", 0.01, 0.95) is None
    assert results.loss_by("shuffle", "lenet", "random", 0.1, 0.95) is None
    table = sanity_table(results, "lenet", 0.95)
    assert table[0] == "| method | density | accuracy | shuffle | invert | what matters |"
    assert (
        "| snip | 10 % | 81.0 ± 3.6 | +12.0 [+7.0, +17.0] | +0.0 [+0.0, +0.0] | positions |"
        in table
    )
    assert len(table) == 3, "methods without checks have no line"


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([0.10, 0.12, 0.14], "positions"),
        ([0.1, -0.1, 0.0], "layer densities only"),
        ([-0.10, -0.12, -0.14], "layer densities only"),
    ],
)
def test_the_verdict_needs_an_interval_above_zero(losses, told):
    results = Results([*rows(), *checked(losses)])
    assert verdict(results.loss_by("shuffle", "lenet", "snip", 0.1, 0.95)) == told
    one = Results([*rows(seeds=1), *list(checked(losses))[:1]])
    assert verdict(one.loss_by("shuffle", "lenet", "snip", 0.1, 0.95)) == "one seed cannot tell"


def test_methods_that_train_are_no_hand_made_scores():
    trained = [
        one.model_copy(update={"method": "imp", "kind": "iterative", "validation_accuracy": [1.0]})
        for one in rows(methods=("random",), dense=False)
    ]
    results = Results([*trained, *rows()])
    assert results.difference("lenet", 0.1, 0.95).other == "snip"
    assert results.kind("lenet", "imp") == "iterative"


def test_costs_are_means_over_the_masks_of_a_method():
    masks = [mask("snip"), mask("snip", forward=500, epochs=0.75), mask("snip", check="invert")]
    masks.append(mask("imp", kind="iterative", forward=2000, flops=7_000_000_000))
    assert cost_table(masks, "lenet")[2:] == [
        "| snip | score | 400 | 100 | 0.50 | 5e+06 |",
        "| imp | iterative | 2,000 | 100 | 0.25 | 7e+09 |",
    ]
    assert len(cost_table(masks, "another")) == 2


def test_accuracy_before_training_is_told_of_mask_search_only():
    searched = [
        one.model_copy(
            update={"method": "gem_miner", "kind": "search", "test_accuracy_before": 0.5}
        )
        for one in rows(methods=("random",), dense=False)
    ]
    assert before_table(Results(rows()), "lenet") == []
    table = before_table(Results([*rows(), *searched]), "lenet")
    assert table[2:] == ["| gem_miner | 50.0 ± 0.0 | 50.0 ± 0.0 |"]
