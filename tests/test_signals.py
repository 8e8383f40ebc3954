"""Filter and splines against OpenSim's own (where installed), closed forms and properties."""

import numpy as np
import pytest

from physpose.errors import InputError
from physpose.signals import interpolate, lowpass, spline_derivatives

TIME = np.linspace(0.3, 2.3, 201)


def series(time):
    return np.stack([np.sin(5 * time) + 0.3 * np.cos(31 * time), time**2], 1)


def test_filter_and_splines_equal_opensims(tmp_path):
    opensim = pytest.importorskip("opensim", reason="OpenSim's Python package is not installed")
    from physpose.io.storage import read_storage, write_storage

    opensim.Logger.setLevelString("error")
    time = np.round(TIME, 4) + np.where(np.arange(201) % 3, 0, 1e-5)  # printed times are never quite even
    path = write_storage(tmp_path / "a.sto", ["a", "b"], time, series(time), in_degrees=False, title="x")
    table = read_storage(path)
    storage = opensim.Storage(str(path))
    storage.pad(storage.getSize() // 2)
    storage.lowpassIIR(6.0)
    theirs = _values(storage)
    at, mine = lowpass(table.time, table.data, 6.0)
    np.testing.assert_allclose(mine, theirs, atol=1e-11)
    splines = opensim.GCVSplineSet(5, storage)
    for order, found in enumerate(spline_derivatives(at, mine, at)):
        np.testing.assert_allclose(found, _values(splines.constructStorage(order)), atol=1e-8 * 10**order)


def _values(storage):
    rows = (storage.getStateVector(i).getData() for i in range(storage.getSize()))
    return np.array([[row.get(j) for j in range(row.getSize())] for row in rows])


def test_filter_has_no_lag_and_halves_the_power_at_its_cutoff_in_one_pass():
    for frequency, gain in ((1.0, 1.0), (6.0, 0.5), (40.0, 0.0)):
        x = np.sin(2 * np.pi * frequency * TIME)[:, None]
        at, y = lowpass(TIME, x, 6.0)
        middle = slice(60, 140)
        np.testing.assert_allclose(interpolate(at, y, TIME)[middle], gain * x[middle], atol=0.02)


def test_splines_differentiate_smooth_motion():
    x, v, a = spline_derivatives(TIME, series(TIME), TIME)
    inner = slice(10, -10)
    np.testing.assert_allclose(x, series(TIME), atol=1e-12)
    exact_v = np.stack([5 * np.cos(5 * TIME) - 9.3 * np.sin(31 * TIME), 2 * TIME], 1)
    exact_a = np.stack([-25 * np.sin(5 * TIME) - 288.3 * np.cos(31 * TIME), np.full_like(TIME, 2)], 1)
    np.testing.assert_allclose(v[inner], exact_v[inner], atol=1e-3)
    np.testing.assert_allclose(a[inner], exact_a[inner], atol=0.05)


@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 6])
def test_few_samples_still_have_derivatives(T):
    t = TIME[:T]
    x, v, a = spline_derivatives(t, 3 * t[:, None], t)
    np.testing.assert_allclose(x, 3 * t[:, None], atol=1e-12)
    np.testing.assert_allclose(v, np.full((T, 1), 3.0 if T > 1 else 0.0), atol=1e-9)
    np.testing.assert_allclose(a, np.zeros((T, 1)), atol=1e-6)


def test_wrong_cutoffs_gaps_and_short_series_are_refused():
    with pytest.raises(InputError, match=r"60 Hz.*\(0, 50"):
        lowpass(TIME, series(TIME), 60.0)
    with pytest.raises(InputError, match=r"gap at 0\.34 s"):
        lowpass(TIME, np.where(np.arange(201)[:, None] == 4, np.nan, series(TIME)), 6.0)
    with pytest.raises(InputError, match="3 samples cannot be filtered"):
        lowpass(TIME[:3], series(TIME[:3]), 6.0)
