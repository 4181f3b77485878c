"""AC/DC."""

from itertools import pairwise

import pytest
import torch

from autos.methods.ac_dc import METHOD, Phases, Settings


def after(loop, phases, steps):
    """Which steps the mask is made anew after, and how many weights it keeps then."""
    changes = {}
    kept = int(sum(keep.sum() for keep in loop.keep.values()))
    for step in range(1, steps + 1):
        loop.step = step
        phases.after_step(loop)
        now = int(sum(keep.sum() for keep in loop.keep.values()))
        if now != kept:
            changes[step] = kept = now
    return changes


def test_phases_are_those_of_the_paper(toy):
    """A hundred epochs of one step: ten of warm-up, and five for each phase."""
    loop = toy({"a": torch.randn(10, 10)}, steps=100)
    phases = Phases(Settings(), density=0.2)
    phases.on_start(loop)
    expected = {10 + 5 * phase: 100 if phase % 2 else 20 for phase in range(17)}
    assert after(loop, phases, 100) == expected and max(expected) == 90


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 33])
def test_the_last_phase_is_sparse_however_short_the_training(toy, steps):
    loop = toy({"a": torch.randn(10, 10)}, steps=steps)
    phases = Phases(Settings(), density=0.2)
    phases.on_start(loop)
    changes = after(loop, phases, steps)
    assert list(changes.values())[-1] == 20
    assert len(changes) == 1 or list(changes)[-1] < steps, "nothing is trained after the last cut"


def test_a_cut_keeps_the_largest_of_the_whole_network_and_what_returns_has_no_past(toy):
    loop = toy({"a": [[4.0, -1.0], [3.0, 0.5]], "b": [[0.1, -2.0]]}, steps=20)
    phases = Phases(Settings(), density=0.5)
    phases.on_start(loop)
    loop.step = 2
    phases.after_step(loop)
    keeps = [loop.keep[name].tolist() for name in ("a.weight", "b.weight")]
    assert keeps == [[[1, 0], [1, 0]], [[0, 1]]]
    loop.step = 3
    phases.after_step(loop)
    for name, weight in loop.weights.items():
        assert loop.keep[name].all()
        memory = loop.optimizer.state[weight]["momentum_buffer"]
        mask = torch.tensor(keeps[name == "b.weight"])
        assert torch.equal(memory != 0, mask.bool()) and torch.equal(weight != 0, mask.bool())


def test_a_training_alternates_and_ends_sparse(conv_net, watched, optimizer):
    found, moments = watched(conv_net, METHOD, optimizer, density=0.3)
    counts = [sum(moment.counts) for moment in moments]
    total = counts[0]
    assert set(counts) == {total, round(0.3 * total)} and counts[-1] == round(0.3 * total)
    # Of 20 steps 2 are warm-up and each phase is 1: a cut after every even step but the last.
    assert [step for step, (a, b) in enumerate(pairwise(counts), 1) if b < a] == [*range(2, 19, 2)]
    for name, keep in found.mask.keep.items():
        assert keep.equal(moments[-1].keep[name]) and keep.equal(found.start[name] != 0)
    assert found.trained
