"""Guided refinement: the written-out gradient is torch's, and steps bring the scores nearer to the target."""

from __future__ import annotations

import numpy as np
import pytest

from flmr.errors import InvalidInput
from flmr.hybrid import Refinement, refine
from flmr.ops.maxsim import maxsim
from flmr.records import MultiVectors

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def query() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 16)).astype(np.float32) / 4


@pytest.fixture(scope="module")
def candidates() -> MultiVectors:
    rng = np.random.default_rng(1)
    return MultiVectors.from_list([rng.standard_normal((n, 16)).astype(np.float32) / 4 for n in (3, 9, 5, 1, 12, 8)])


GUIDE = np.array([0.0, 3.0, 1.0, 0.0, 7.0, 2.0], np.float32)


def scores(query: np.ndarray, candidates: MultiVectors) -> np.ndarray:
    return maxsim(MultiVectors.from_list([query]), candidates)[0].astype(np.float64)


def target_and_unit(query: np.ndarray, candidates: MultiVectors, settings: Refinement) -> tuple[np.ndarray, float]:
    own, unit = scores(query, candidates), scores(query, candidates).std() * settings.temperature
    softmax = [
        np.exp(x / u) / np.exp(x / u).sum() for x, u in ((own, unit), (GUIDE, GUIDE.std() * settings.temperature))
    ]
    return (1 - settings.mixture) * softmax[0] + settings.mixture * softmax[1], unit


def divergence(rows: np.ndarray, target: np.ndarray, unit: float, candidates: MultiVectors) -> float:
    exponent = scores(rows, candidates) / unit
    log_softmax = exponent - np.log(np.exp(exponent).sum())
    return float((target * (np.log(target) - log_softmax)).sum())


def test_one_step_is_down_torchs_gradient(query: np.ndarray, candidates: MultiVectors) -> None:
    settings = Refinement(steps=1, rate=0.1, mixture=0.3, temperature=0.7)
    target, unit = target_and_unit(query, candidates, settings)
    rows = torch.tensor(query, dtype=torch.float64, requires_grad=True)
    own = torch.cat([maxsim(rows, torch.tensor(item, dtype=torch.float64)).flatten() for item in candidates])
    loss = torch.nn.functional.kl_div(torch.log_softmax(own / unit, 0), torch.tensor(target), reduction="sum")
    loss.backward()
    step = refine(query, candidates, GUIDE, settings) - query
    np.testing.assert_allclose(step, -0.1 * unit * rows.grad.numpy(), atol=1e-6)


def test_steps_bring_the_scores_nearer_to_the_target(query: np.ndarray, candidates: MultiVectors) -> None:
    target, unit = target_and_unit(query, candidates, Refinement(mixture=0.5))
    far = [
        divergence(refine(query, candidates, GUIDE, Refinement(steps=steps, rate=0.05)), target, unit, candidates)
        for steps in (1, 5, 25)
    ]
    assert divergence(query, target, unit, candidates) > far[0] > far[1] > far[2]


def test_a_partner_without_a_share_or_an_opinion_changes_nothing(query: np.ndarray, candidates: MultiVectors) -> None:
    np.testing.assert_allclose(refine(query, candidates, GUIDE, Refinement(mixture=0)), query, atol=1e-6)
    np.testing.assert_array_equal(refine(query, candidates, np.ones(6), Refinement()), query)


def test_unit_of_the_guide_does_not_matter(query: np.ndarray, candidates: MultiVectors) -> None:
    again = refine(query, candidates, 40 * GUIDE - 9, Refinement())
    np.testing.assert_allclose(refine(query, candidates, GUIDE, Refinement()), again, atol=1e-5)


def test_candidates_without_rows_and_missing_scores_are_refused(query: np.ndarray, candidates: MultiVectors) -> None:
    empty = MultiVectors.from_list([*candidates, np.zeros((0, 16), np.float32)])
    for items, guide in ((empty, np.arange(7.0)), (candidates, np.arange(5.0))):
        with pytest.raises(InvalidInput, match="candidates that have rows, and one score of the guide for each"):
            refine(query, items, guide, Refinement())


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"mixture": 1.1}, {"temperature": 0}, {"rate": -1}])
def test_wrong_settings_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(wrong))} of refinement must be"):
        Refinement(**wrong)
