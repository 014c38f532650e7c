"""Turns rows of declared columns into positions of ones: each column's values and the observed pairs of two columns.

What it takes is bounded whatever the columns hold. A column has the values that were seen, the most frequent ones if all
do not fit; the others share one position. A pair has the combinations seen in at least two rows, again the most frequent
ones. Of many pairs those are crossed in which the rows so far show most of an interaction. So there are never more than
`max_positions` positions and never more than columns + `max_pairs` ones in a row: an ad id of 35,000 values beside a page
id of as many costs what its rows cost, not 1.2 thousand million positions.
"""

import hashlib
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.base import BaseEstimator

from warehouse.errors import PlatformError

MAX_PLAIN_NUMBERS = 32  # a numeric column with more different values than this is read in bands
SHOWN = 20  # columns, or values, that a note names
MIN_SAME_ROWS = 10  # that fewer rows have two values in common may be chance
MIN_ROWS = 2  # a combination seen once says nothing that its own row does not
SCREENED_COLUMNS = 60  # of more columns only those with most to say are tried in pairs: at most 1,770 pairs
SCREENED_ROWS = 40_000
BUCKETS = 1 << 16  # while pairs are compared their combinations are hashed: a bounded, rough count is enough
SHRINK = 100.0  # in comparing them, the inverse variance of a normal prior on each combination's coefficient


class PairEncoder(BaseEstimator):
    """Maps rows to the positions of their ones; position 0 stands for nothing (a value or pair not known).

    left_out_: column → why it is left out. same_: column and value → the value before that has the same rows.
    """

    def __init__(self, columns: list[str], max_positions: int, max_pairs: int):
        self.columns = columns
        self.max_positions = max_positions
        self.max_pairs = max_pairs

    def fit(self, X: pd.DataFrame, clicked: np.ndarray) -> "PairEncoder":
        """Learn values, pairs and combinations; `clicked` (bool per row) only chooses among more than max_pairs pairs."""
        self.in_bands_ = {c for c in self.columns if _is_number(X[c]) and X[c].nunique(dropna=True) > MAX_PLAIN_NUMBERS}
        self._fit_values(X)
        codes = self._codes(X)
        self._find_same_values(codes)
        self.pairs_ = self._choose_pairs(codes, clicked)
        self._fit_combinations(codes)
        return self

    def _fit_values(self, X: pd.DataFrame) -> None:
        """Positions of values: at most half of all, the most frequent ones, one for the others of each column.

        PlatformError if all columns are constant.
        """
        counts, seen, self.left_out_ = {}, {}, {}
        for column in self.columns:
            texts = self._texts(X, column)
            count = texts.value_counts().sort_index()
            # codes in order of appearance are equal if the columns tell the same rows apart, whatever they call them
            first = seen.setdefault(hashlib.sha256(pd.factorize(texts)[0].tobytes()).digest(), column)
            if len(count) < 2:
                self.left_out_[column] = "it has one value"
            elif first != column:
                self.left_out_[column] = f"{first} says the same"
            else:
                counts[column] = count
        if not counts:
            raise PlatformError(
                f"ctr: none of {', '.join(self.columns)} tells {len(X):,} impressions apart. Name other columns in ml/models.yml."
            )
        least = _least_count(np.concatenate(list(counts.values())), self.max_positions // 2 - len(counts))
        self.values_, self.others_, following = {}, {}, 1
        for column, count in counts.items():
            kept = count.index[count >= least]
            self.values_[column] = dict(zip(kept, range(following, following + len(kept)), strict=True))
            following += len(kept)
            self.others_[column] = following if len(kept) < len(count) else 0
            following += len(kept) < len(count)
        self.n_values_ = following

    def _find_same_values(self, codes: np.ndarray) -> None:
        """Find the values whose rows (at least MIN_SAME_ROWS) are those of a value of a column before.

        They keep their positions: the penalty shares one effect among them, which predicts no worse than leaving them out.
        Rows are compared by the sum of a random number for each: equal for equal sets, for others but by a chance of 1 in 2^64.
        """
        marks = np.random.default_rng(0).integers(0, 2**63, len(codes), dtype=np.uint64)
        sums = np.zeros(self.n_values_, np.uint64)
        for column in codes.T:
            np.add.at(sums, column, marks)
        frequent = np.flatnonzero(np.bincount(codes.ravel(), minlength=self.n_values_) >= MIN_SAME_ROWS)
        _, first = np.unique(sums[frequent], return_index=True)
        of_sum = dict(zip(sums[frequent[first]], frequent[first], strict=True))
        names = {place: f"{c} {value}" for c, known in self.values_.items() for value, place in known.items()}
        names |= {place: f"{c} (other)" for c, place in self.others_.items() if place}
        self.same_ = {names[place]: names[of_sum[sums[place]]] for place in np.delete(frequent, first)}

    def notes(self) -> list[str]:
        """What was left out and what repeats, a sentence each, for people."""
        left_out = [f"{name} ({why})" for name, why in self.left_out_.items()]
        same = [f"{name} as {first}" for name, first in self.same_.items()]
        said = (("left out of the columns", left_out), ("values that say the same and share one effect", same))
        return [f"{what}: {'; '.join(_few(named))}" for what, named in said if named]

    def _texts(self, X: pd.DataFrame, column: str) -> pd.Series:
        """Values as text; 1, 1.0 and True, which Arrow may give for one column with and without nulls, are equal."""
        values = X[column]
        if not _is_number(values):
            return values.astype(str)
        values = values.astype(float)
        return _bands(values) if column in self.in_bands_ else values.astype(str)

    def _codes(self, X: pd.DataFrame) -> np.ndarray:
        """int32 array (rows, columns) of the positions of the columns' values."""
        codes = np.empty((len(X), len(self.values_)), np.int32)
        for place, (column, known) in enumerate(self.values_.items()):
            codes[:, place] = self._texts(X, column).map(known).fillna(self.others_[column])
        return codes

    def _choose_pairs(self, codes: np.ndarray, clicked: np.ndarray) -> list[tuple[int, int]]:
        """All pairs of columns, or the max_pairs with the largest gain beyond chance, by rows of the older four fifths.

        The gain is that of one Newton step of the log likelihood from a model of the columns alone.
        """
        pairs = list(combinations(range(codes.shape[1]), 2))
        if len(pairs) <= self.max_pairs:
            return pairs
        end = max(1, int(0.8 * len(codes)))
        chosen = np.arange(0, end, -(-end // SCREENED_ROWS))
        codes, clicked = codes[chosen].astype(np.int64), clicked[chosen].astype(float)
        rate = np.clip(clicked.mean(), 1e-6, 1 - 1e-6)
        alone = [_gain(column, clicked - rate, np.full(len(clicked), rate * (1 - rate))) for column in codes.T]
        expected = expit(logit(rate) + _additive(codes, clicked, rate))
        left, spread = clicked - expected, expected * (1 - expected)
        tried = sorted(np.argsort(alone)[::-1][:SCREENED_COLUMNS])
        gains = {
            (a, b): _gain(codes[:, a] * self.n_values_ + codes[:, b], left, spread) for a, b in combinations(tried, 2)
        }
        return sorted(sorted(gains, key=gains.get, reverse=True)[: self.max_pairs])

    def _fit_combinations(self, codes: np.ndarray) -> None:
        """Positions of the combinations that were seen, as many as fit, most frequent first."""
        seen = []
        for a, b in self.pairs_:
            keys, counts = np.unique(self._keys(codes, a, b), return_counts=True)
            seen.append((keys[counts >= MIN_ROWS], counts[counts >= MIN_ROWS].astype(np.int32)))
        least = _least_count(np.concatenate([n for _, n in seen] or [[]]), self.max_positions - self.n_values_)
        self.combinations_ = [keys[counts >= least] for keys, counts in seen]
        sizes = [len(keys) for keys in self.combinations_]
        self.starts_ = self.n_values_ + np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.n_positions_ = int(self.starts_[-1])

    def _keys(self, codes: np.ndarray, a: int, b: int) -> np.ndarray:
        return codes[:, a].astype(np.int64) * self.n_values_ + codes[:, b]

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """int32 array (rows, columns + pairs) of positions below `n_positions_`."""
        codes = self._codes(X)
        positions = np.zeros((len(X), codes.shape[1] + len(self.pairs_)), np.int32)
        positions[:, : codes.shape[1]] = codes
        for place, ((a, b), known) in enumerate(zip(self.pairs_, self.combinations_, strict=True)):
            if not len(known):
                continue
            keys = self._keys(codes, a, b)
            found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            positions[:, codes.shape[1] + place] = np.where(known[found] == keys, self.starts_[place] + found, 0)
        return positions


def _few(names: list[str]) -> list[str]:
    """The first SHOWN names, and how many more there are."""
    return names[:SHOWN] + ([f"{len(names) - SHOWN:,} more"] if names[SHOWN:] else [])


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values)


def _bands(values: pd.Series) -> pd.Series:
    """Small counts as they are, larger numbers by their squared logarithm, rounded down: finer than powers of two."""
    size = values.abs()
    return np.sign(values).mul(np.floor(np.log(size.clip(lower=1)) ** 2).where(size > 2, size)).round(2).astype(str)


def _least_count(counts: np.ndarray, room: int) -> int:
    """The smallest count that at most `room` of the counts reach."""
    if len(counts) <= room:
        return 0
    return int(np.partition(counts, len(counts) - room - 1)[len(counts) - room - 1]) + 1 if room > 0 else 2**31


def _gain(keys: np.ndarray, left: np.ndarray, spread: np.ndarray) -> float:
    """What one shrunk coefficient per key would add to the log likelihood, less what it adds where there is nothing."""
    bucket = (keys * 0x9E3779B1) % BUCKETS
    slope, curvature = (np.bincount(bucket, weights, BUCKETS) for weights in (left, spread))
    return float(0.5 * ((slope**2 - curvature) / (curvature + SHRINK)).sum())


def _additive(codes: np.ndarray, clicked: np.ndarray, rate: float) -> np.ndarray:
    """Log-odds per row beyond the base rate from the columns alone, by two rounds of one shrunk step per column."""
    linear = np.zeros(len(codes))
    for _ in range(2):
        for column in codes.T:
            expected = expit(logit(rate) + linear)
            slope = np.bincount(column, clicked - expected)
            linear += (slope / (np.bincount(column, expected * (1 - expected)) + SHRINK))[column]
    return linear
