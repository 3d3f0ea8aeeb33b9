"""K-means in Gram space against scikit-learn on the raw units."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from composition.merging.kmeans import cluster, fill_empty, inertia_about_mean, lloyd, number_by_first

DIM, N, RANK, K = 600, 8, 16, 16


def structured(seed: int) -> np.ndarray:
    """Units of one-start adapters: one A, halves of B shared; 8 × 16 points around 16 centres."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(RANK, DIM)), rng.normal(size=(RANK, DIM))
    return np.concatenate([np.hstack([a, 0.5 * b + 0.5 * rng.normal(size=(RANK, DIM))]) for _ in range(N)])


def unstructured(seed: int) -> np.ndarray:
    """Near-orthogonal units, as of adapters from different random starts."""
    return np.random.default_rng(seed).normal(size=(N * RANK, 2 * DIM))


def gram_of(points: np.ndarray) -> torch.Tensor:
    """[1, R, R] from float32 products, as a merge makes them."""
    rows = torch.from_numpy(points.astype("f4"))
    return (rows @ rows.mT).double()[None]


def from_points(chosen: np.ndarray, count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(chosen), count).double()[None, None]


@pytest.mark.parametrize("make", [structured, unstructured])
def test_labels_equal_scikit_learns_from_identical_centres(make, record_property):
    """Every label of 20 runs; a point that differs must lie within 1e-5 of the border between its two clusters."""
    different = 0
    for seed in range(20):
        points = make(seed)
        chosen = np.random.default_rng(100 + seed).choice(len(points), K, replace=False)
        theirs = KMeans(K, init=points[chosen], n_init=1, max_iter=300, tol=0).fit(points)
        labels, inertia = lloyd(gram_of(points), from_points(chosen, len(points)))
        ours = labels[0, 0].numpy()
        if not np.array_equal(ours, theirs.labels_):
            different += 1
            gap = np.sort(theirs.transform(points) ** 2, axis=1)[:, :2]
            near = (gap[:, 1] - gap[:, 0]) < 1e-5 * (points**2).sum(1)
            assert near[ours != theirs.labels_].any(), f"seed {seed}: labels differ away from any tie"
        else:
            assert float(inertia[0, 0]) == pytest.approx(theirs.inertia_, rel=1e-5)
    record_property("runs with a near-tie decided differently", different)
    assert different <= (0 if make is structured else 1)


def test_inertia_is_within_one_percent_of_scikit_learns_on_structured_modules():
    for seed in range(10):
        points = structured(seed)
        for n_init in (1, 10):
            theirs = KMeans(K, n_init=n_init, random_state=seed).fit(points).inertia_
            (ours,) = cluster(gram_of(points), K, seeds=(seed,), n_init=n_init)
            assert float(ours.inertia[0]) <= 1.01 * theirs


def test_structured_units_are_grouped_by_rank_index():
    (ours,) = cluster(gram_of(structured(0)), K, seeds=(0,), n_init=3)
    assert ours.labels[0].tolist() == list(range(RANK)) * N


def test_many_modules_and_seeds_at_once_are_each_alone():
    grams = torch.cat([gram_of(unstructured(s)) for s in range(3)] + [gram_of(structured(0))])
    together = cluster(grams, K, seeds=(5, 6), n_init=2)
    for m in range(4):
        for s, seed in enumerate((5, 6)):
            (alone,) = cluster(grams[m : m + 1], K, seeds=(seed,), n_init=2)
            assert torch.equal(alone.labels[0], together[s].labels[m])


def test_more_restarts_are_never_looser():
    gram = gram_of(unstructured(0))
    inertia = [float(cluster(gram, K, seeds=(0,), n_init=n)[0].inertia) for n in (1, 4, 16)]
    assert inertia == sorted(inertia, reverse=True)


def test_partition_does_not_depend_on_the_order_of_points():
    points = unstructured(1)
    order = np.random.default_rng(0).permutation(len(points))
    (plain,) = cluster(gram_of(points), K, seeds=(0,), n_init=2)
    (shuffled,) = cluster(gram_of(points[order]), K, seeds=(0,), n_init=2)
    assert torch.equal(number_by_first(shuffled.labels[:, np.argsort(order)], K), plain.labels)


@pytest.mark.parametrize(
    "points",
    [np.zeros((6, 3)), np.repeat(np.eye(3), 4, axis=0), np.vstack([np.eye(3), np.zeros((5, 3))])],
    ids=["all zero", "three points four times", "many zeros"],
)
@pytest.mark.parametrize("k", [1, 2, 4, 5, 6])
def test_no_cluster_is_empty_even_with_fewer_distinct_points_than_clusters(points, k):
    gram = torch.from_numpy(points @ points.T)[None]
    (ours,) = cluster(gram, k, seeds=(0,), n_init=3)
    assert sorted(set(ours.labels[0].tolist())) == list(range(k))
    assert float(ours.inertia) >= 0


def test_as_many_clusters_as_points_is_every_point_alone():
    (ours,) = cluster(gram_of(unstructured(0)[:9]), 9, seeds=(0,), n_init=1)
    assert ours.labels[0].tolist() == list(range(9))
    assert float(ours.inertia) == 0


def test_an_emptied_cluster_takes_the_farthest_point_of_a_larger_one():
    labels = torch.tensor([[0, 0, 0, 2]])
    fill_empty(labels, torch.tensor([[0.1, 0.9, 0.2, 5.0]]), 3)
    assert labels.tolist() == [[0, 1, 0, 2]]


def test_total_inertia_is_the_spread_about_the_mean():
    points = unstructured(2)
    expected = ((points - points.mean(0)) ** 2).sum()
    assert float(inertia_about_mean(gram_of(points))) == pytest.approx(expected, rel=1e-5)
