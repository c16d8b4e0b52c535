from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thalweg.problems.split import grouped_split, stratified_split


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(5, 40), min_size=2, max_size=5))
def test_stratified_split_is_disjoint_complete_and_in_proportion(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = stratified_split(labels)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        # Each class's share of the test set is rounded up or down, and the rounding of the set itself
        # moves one more sample.
        assert abs((labels[test] == label).sum() - 0.2 * count) <= 2


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(20, 60), st.just(1)), elements=st.integers(0, 12)))
def test_grouped_split_keeps_equal_rows_together(rows):
    rows[:2, 0] = [0, 1]
    train, test = grouped_split(rows)
    assert sorted([*train, *test]) == list(range(len(rows)))
    assert not set(rows[train, 0]) & set(rows[test, 0])


def test_splits_are_always_the_same():
    labels = np.arange(100) % 4
    assert np.array_equal(stratified_split(labels)[1], stratified_split(labels)[1])
    rows = np.arange(50.0)[:, None]
    assert np.array_equal(grouped_split(rows)[1], grouped_split(rows)[1])
