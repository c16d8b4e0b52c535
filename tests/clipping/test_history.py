import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.clipping import NormHistory
from thalweg.errors import InvalidArgument


@settings(max_examples=60, deadline=None)
@given(
    norms=st.lists(st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf]), max_size=60),
    window=st.integers(1, 12),
    least=st.integers(1, 12),
)
def test_running_median_against_the_statistics_module(norms, window, least):
    least = min(least, window)
    history = NormHistory(window, least)
    for norm in norms:
        history.append(norm)
    for step, median in enumerate(history.medians):
        before = [norm for norm in norms[:step] if math.isfinite(norm)][-window:]
        if len(before) < least:
            assert math.isnan(median)
        else:
            assert median == statistics.median(before)
    assert len(history) == len(norms)


def test_spikes_by_ratio():
    history = NormHistory(window=20, least=5)
    for step in range(40):
        history.append({17: 40.0, 30: 7.0}.get(step, 2.0))
    assert [(s.step, s.norm, s.median, s.ratio) for s in history.spikes(5)] == [(17, 40.0, 2.0, 20.0)]
    assert [s.step for s in history.spikes(3)] == [17, 30]


def test_large_norms_at_the_start_are_no_spikes():
    history = NormHistory(window=20, least=5)
    for norm in (0.1, 50.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        history.append(norm)
    assert history.spikes() == ()


def test_nonfinite_norms_are_spikes_and_leave_the_median():
    history = NormHistory(window=20, least=2)
    for norm in (1.0, math.nan, 1.0, math.inf, 1.0):
        history.append(norm)
    assert [(s.step, s.ratio) for s in history.spikes()] == [(1, math.inf), (3, math.inf)]
    assert history.medians[-1] == 1.0


def test_wrong_arguments():
    with pytest.raises(InvalidArgument, match="least must be between 1 and window=5, got 6"):
        NormHistory(5, 6)
    with pytest.raises(InvalidArgument, match="ratio must be above 1"):
        NormHistory().spikes(1.0)
