"""Statistics over blocks: pure, and only what stored raw values can carry.

The block (a fresh process) is the unit: inferences within one process are correlated, so
resampling them would promise a precision that is not there.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from device_bench.report.model import Estimate

CONFIDENCE = 0.95
# One block shows no spread, so there is no interval, so there is no estimate.
FEWEST_BLOCKS = 2
RESAMPLES = 5000
# Fixed, so that the same record always gives the same interval.
SEED = 1

Floats = npt.NDArray[np.float64]


def median_of_blocks(values: Sequence[float]) -> Estimate:
    """Median over blocks with its 95 % percentile-bootstrap interval.

    Args:
        values: one statistic per block (its p50, p90 ...).

    Raises:
        ValueError: fewer than ``FEWEST_BLOCKS`` values: nothing would be known of their spread.
    """
    if len(values) < FEWEST_BLOCKS:
        raise ValueError(f"{len(values)} blocks; an interval needs {FEWEST_BLOCKS}")
    centre = float(np.median(values))
    low, high = _bootstrap(np.asarray(values, dtype=np.float64))
    return Estimate(value=centre, low=low, high=high)


def paired_ratio(baseline: Sequence[float], variant: Sequence[float]) -> Estimate:
    """Median of baseline / variant, paired by round, with its 95 % interval over rounds.

    Blocks of one round ran close together, so pairing takes slow drift (heat, load) out.

    Raises:
        ValueError: different numbers of blocks, or too few.
    """
    if len(baseline) != len(variant):
        raise ValueError(f"{len(baseline)} and {len(variant)} blocks cannot be paired")
    ratios = np.asarray(baseline, dtype=np.float64) / np.asarray(variant, dtype=np.float64)
    return median_of_blocks(ratios.tolist())


def spread_percent(values: Sequence[float]) -> float:
    """(max - min) / median, in percent."""
    return float(100.0 * (max(values) - min(values)) / np.median(values))


def _bootstrap(values: Floats) -> tuple[float, float]:
    from scipy.stats import bootstrap  # 1 s to import; only reports need it

    if np.ptp(values) == 0.0:  # scipy warns that the interval is degenerate: it is a point
        return float(values[0]), float(values[0])
    result = bootstrap(
        (values,),
        np.median,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=SEED,
        vectorized=True,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
