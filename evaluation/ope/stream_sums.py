"""The sums over patients from which a self-normalised estimate and its standard error follow.

Both depend on the log through few sums: of ``W_it`` and of ``W_it r_it`` at each step, and of the products of
any two of them over the patients (a Gram matrix). A course that has ended enters these sums once and for
good: nothing is subtracted later, so nothing drifts. Open courses, whose last weight is carried to later
steps until it changes, stay as rows, and their carried weights are added at each look. So do ended courses
that hold much of the weight of a step: where a single patient is the estimate, its squared influence, close
to 0, would be a difference of large numbers.

The rest is the choice of units. Weights of a step are multiples of ``exp(unit)``, which follows the largest
weight, so that no course leaves the range of a float; rewards are distances from a centre, so that a variance
far smaller than the mean does not cancel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]

# How far, in logarithms, a weight may exceed its unit before the unit is changed, which touches every row.
# Squares of exp(30) are far from the end of a float's range.
_EXCESS = 30.0

# An ended course stays a row while it holds more than this share of the weight of a step.
_HEAVY = 0.02
# Ended courses are folded into the sums when more than this many, and twice those kept before, have come up.
_KEPT = 64


@dataclass(frozen=True)
class Summary:
    """Value, standard error, and effective sample sizes: by which it is judged, and of the last step."""

    value: float
    standard_error: float
    effective: float
    last: float


class RunningSums:
    """Sums of a growing log; `EstimateStream` checks what goes in."""

    def __init__(self) -> None:
        self.n_patients, self.n_open, self._horizon = 0, 0, 0
        # of each patient: row in the table below, decisions made, whether the course has ended
        self._row, self._length = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._ended = np.zeros(0, dtype=np.bool_)
        # of each row: patient; (2, steps) W (r - centre) and W; log of the last weight; discounted return
        self._rows, self._fold_beyond = 0, _KEPT
        self._patient = np.zeros(0, dtype=np.int64)
        self._course = np.zeros((0, 2, 0))
        self._last, self._return = np.zeros(0), np.zeros(0)
        # of each step: unit and centre; sums of W (r - centre), W and W^2 over the decisions made and over
        # the weights that folded courses carry; number, sum and sum of squares of r - centre
        self._unit, self._centre = np.zeros(0), np.zeros(0)
        self._sums, self._spread = np.zeros((3, 0)), np.zeros((3, 0))
        # of the folded courses: products, carried weights included; as a whole, unit, centre and sums of W,
        # W G, W^2, W^2 G, W^2 G^2, with G less its centre
        self._gram = np.zeros((2, 0, 2, 0))
        self._whole_unit, self._whole_centre = -np.inf, 0.0
        self._whole = np.zeros(5)

    def ended(self, patients: IntArray) -> BoolArray:
        """Whether the courses of known patients have ended."""
        return self._ended[patients]

    def length(self, patients: IntArray) -> IntArray:
        """Decisions made so far, 0 for a patient who is new."""
        known = patients < self.n_patients
        return np.where(known, self._length[np.where(known, patients, 0)] if self.n_patients else 0, 0)

    def add(
        self,
        patient: IntArray,
        step: IntArray,
        log_ratio: FloatArray,
        reward: FloatArray,
        first: BoolArray,
        ended: BoolArray,
    ) -> None:
        """Take in decisions (m,), sorted by patient and step; rewards are discounted.

        Parameters
        ----------
        first : where a patient's decisions begin
        """
        starts = np.flatnonzero(first)
        ids, counts = patient[starts], np.diff(np.r_[starts, len(patient)])
        self._reserve(int(ids[-1]) + 1, int(step.max()) + 1)
        self._admit(ids[ids >= self.n_patients])
        self._lengthen(step, reward)
        rows = self._row[ids]
        row = np.repeat(rows, counts)
        log_weight = self._cumulate(
            rows, counts, np.arange(len(patient)) - np.repeat(starts, counts), log_ratio
        )
        self._raise_units(_largest(step, log_weight, self._horizon))

        weight = _multiples(log_weight, self._unit[step])
        excess = reward - self._centre[step]
        self._course[row, 0, step], self._course[row, 1, step] = weight * excess, weight
        self._sums[:, : self._horizon] += self._by_step(step, (weight * excess, weight, weight**2))
        self._spread[:, : self._horizon] += self._by_step(step, (np.ones(len(step)), excess, excess**2))
        ends = starts + counts - 1
        self._last[rows] = log_weight[ends]
        self._return[rows] += np.add.reduceat(reward, starts)
        self._length[ids] += counts
        self._ended[ids] = ended[ends]
        self.n_open -= int(ended.sum())
        if self._rows - self.n_open > self._fold_beyond:
            self._fold()

    def per_decision(self) -> Summary:
        """Sum over steps of weighted means, and the root of the sum of squared influences."""
        k, steps = self._rows, self._horizon
        unit, centre = self._unit[:steps], self._centre[:steps]
        length, last = self._length[self._patient[:k]], self._last[:k]
        # weights that rows carry, together for all courses of one length
        top = _largest(length, last, steps + 1)
        share = _multiples(last, top[length])
        mass = np.bincount(length, share, steps + 1)
        mass_squared = np.bincount(length, share**2, steps + 1)
        scale = np.maximum(unit, np.maximum.accumulate(top)[:steps])
        carried = np.arange(steps) >= np.arange(steps + 1)[:, None]
        lift = np.where(carried, _multiples(top[:, None], scale), 0.0)
        held = _multiples(unit, scale)

        tail = mass @ lift
        total = held * self._sums[1, :steps] + tail
        squares = held**2 * self._sums[2, :steps] + mass_squared @ lift**2
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = (held * self._sums[0, :steps] - centre * tail) / total
            effective = np.where(squares > 0, total**2 / squares, 0.0)
            factor = held / total
            of_tail = lift @ (-(centre + excess) / total)
        coefficients = np.stack([factor, -factor * excess])
        flat = coefficients.ravel()
        gram = self._gram[:, :steps, :, :steps].reshape(2 * steps, 2 * steps)
        influence = (
            np.einsum("kbt,bt->k", self._course[:k, :, :steps], coefficients) + share * of_tail[length]
        )
        squared = max(float(flat @ gram @ flat), 0.0) + float(influence @ influence)
        value = float((centre + excess).sum())
        return Summary(value, squared**0.5, self._judged_by(effective), float(effective[-1]))

    def whole_courses(self) -> Summary:
        """Weighted mean of returns, and the root of the sum of squared influences."""
        k, centre = self._rows, self._whole_centre
        last, returns = self._last[:k], self._return[:k] - centre
        top = max(self._whole_unit, float(last.max(initial=-np.inf)))
        weight = _multiples(last, top)
        scaled = self._whole * _multiples(self._whole_unit, top) ** np.array([1, 1, 2, 2, 2])
        total, product, squares, with_return, with_square = scaled
        total += weight.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (product + weight @ returns) / total
            of_folded = max(with_square - 2.0 * mean * with_return + mean**2 * squares, 0.0)
            of_rows = weight * (returns - mean)
            standard_error = float(np.sqrt(of_folded + of_rows @ of_rows) / total)
            squares += weight @ weight
            effective = float(total**2 / squares) if squares > 0 else 0.0
        return Summary(centre + float(mean), standard_error, effective, effective)

    def _judged_by(self, effective: FloatArray) -> float:
        """Average over steps, weighted by the standard deviation of the rewards, 0 after the end."""
        steps, n = self._horizon, self.n_patients
        number, total, squares = self._spread[:, :steps]
        absent, centre = n - number, self._centre[:steps]
        mean = (total - absent * centre) / n
        spread = np.sqrt(np.maximum((squares + absent * centre**2) / n - mean**2, 0.0))
        return float(np.average(effective, weights=spread if spread.any() else None))

    def _by_step(self, step: IntArray, values: tuple[FloatArray, ...]) -> FloatArray:
        sums = [np.bincount(step, each, self._horizon) for each in values]
        return np.stack(sums).astype(np.float64, copy=False)

    def _cumulate(
        self, rows: IntArray, counts: IntArray, place: IntArray, log_ratio: FloatArray
    ) -> FloatArray:
        """Return the log weights (m,) of new decisions, on top of each course's last one."""
        padded = np.zeros((len(rows), int(counts.max()) + 1))
        padded[:, 0] = self._last[rows]
        group = np.repeat(np.arange(len(rows)), counts)
        padded[group, place + 1] = log_ratio
        return np.cumsum(padded, axis=1)[group, place + 1]

    def _fold(self) -> None:
        """Move ended courses that hold little of the weight of every step from rows into the sums."""
        steps = self._horizon
        rows = np.flatnonzero(self._ended[self._patient[: self._rows]])
        length, last = self._length[self._patient[rows]], self._last[rows]
        self._raise_units(np.maximum.accumulate(_largest(length, last, steps + 1))[:steps])
        carried = np.arange(steps) >= length[:, None]
        tail = np.where(carried, _multiples(last[:, None], self._unit[:steps]), 0.0)
        courses, centre = self._course[rows, :, :steps], self._centre[:steps]
        courses += np.stack([-centre * tail, tail], axis=1)
        # what is in the total stays in it, so a light course stays light
        total = self._sums[1, :steps] + tail.sum(axis=0)
        light = (courses[:, 1] <= _HEAVY * total).all(axis=1)
        tail, flat = tail[light], courses[light].reshape(-1, 2 * steps)
        self._sums[:, :steps] += np.stack(
            [-centre * tail.sum(axis=0), tail.sum(axis=0), (tail**2).sum(axis=0)]
        )
        self._gram[:, :steps, :, :steps] += (flat.T @ flat).reshape(2, steps, 2, steps)
        self._fold_whole(last[light], self._return[rows[light]])
        self._fill_gaps(rows[light])
        self._fold_beyond = _KEPT + 2 * int((~light).sum())

    def _fold_whole(self, last: FloatArray, returns: FloatArray) -> None:
        if not self._whole.any() and len(returns):
            self._whole_centre = float(returns.mean())
        top = float(last.max(initial=-np.inf))
        if top > self._whole_unit + _EXCESS:
            self._whole *= _multiples(self._whole_unit, top) ** np.array([1, 1, 2, 2, 2])
            self._whole_unit = top
        weight, excess = _multiples(last, self._whole_unit), returns - self._whole_centre
        both = weight * excess
        self._whole += [weight.sum(), both.sum(), weight @ weight, weight @ both, both @ both]

    def _fill_gaps(self, rows: IntArray) -> None:
        """Take courses out of the table; the last of the others move into their rows."""
        k = self._rows - len(rows)
        gone = np.zeros(self._rows, dtype=np.bool_)
        gone[rows] = True
        holes, moved = np.flatnonzero(gone[:k]), k + np.flatnonzero(~gone[k:])
        for table in (self._course, self._last, self._return, self._patient):
            table[holes] = table[moved]
        self._row[self._patient[holes]] = holes
        self._course[k : self._rows] = 0.0
        self._rows = k

    def _admit(self, ids: IntArray) -> None:
        rows = self._rows + np.arange(len(ids))
        self._row[ids], self._patient[rows] = rows, ids
        self._last[rows], self._return[rows] = 0.0, 0.0
        self.n_patients += len(ids)
        self.n_open += len(ids)
        self._rows += len(ids)

    def _lengthen(self, step: IntArray, reward: FloatArray) -> None:
        """Add the steps that nobody had reached, at which folded courses carry their last weight."""
        for t in range(self._horizon, int(step.max()) + 1):
            self._centre[t] = centre = float(reward[step == t].mean())
            self._horizon = t + 1
            if t == 0:
                self._unit[0] = -np.inf
                continue
            self._unit[t] = self._unit[t - 1]
            carried = self._whole[[0, 2]] * _multiples(self._whole_unit, self._unit[t]) ** np.array([1, 2])
            self._sums[:, t] = -centre * carried[0], carried[0], carried[1]
            for part, factor in ((1, 1.0), (0, -centre)):
                self._gram[part, t] = factor * self._gram[1, t - 1]
            for part, factor in ((1, 1.0), (0, -centre)):
                self._gram[:, :, part, t] = factor * self._gram[:, :, 1, t - 1]

    def _raise_units(self, largest: FloatArray) -> None:
        """Change the units of steps whose largest weight (T,) has outgrown them."""
        unit = self._unit[: self._horizon]
        steps = np.flatnonzero(largest > unit + _EXCESS)
        if len(steps):
            factor = _multiples(unit[steps], largest[steps])
            self._sums[:, steps] *= np.stack([factor, factor, factor**2])
            self._course[: self._rows, :, steps] *= factor
            self._gram[:, steps] *= factor[:, None, None]
            self._gram[:, :, :, steps] *= factor
            unit[steps] = largest[steps]

    def _reserve(self, patients: int, steps: int) -> None:
        """Make room for patients and steps; arrays double, so that many small appends stay cheap."""
        if patients > len(self._row):
            room = max(patients, 2 * len(self._row))
            self._row, self._length = _padded(self._row, room), _padded(self._length, room)
            self._ended = _padded(self._ended, room)
        rows, columns = len(self._last), len(self._unit)
        needed = self._rows + max(patients - self.n_patients, 0)
        if needed > rows:
            rows = max(needed, 2 * rows)
            self._last, self._return = _padded(self._last, rows), _padded(self._return, rows)
            self._patient = _padded(self._patient, rows)
        if steps > columns:
            columns = max(steps, 2 * columns)
            self._unit, self._centre = _padded(self._unit, columns), _padded(self._centre, columns)
            self._sums, self._spread = _padded(self._sums, 3, columns), _padded(self._spread, 3, columns)
            self._gram = _padded(self._gram, 2, columns, 2, columns)
        if self._course.shape != (rows, 2, columns):
            self._course = _padded(self._course, rows, 2, columns)


def _padded(array: npt.NDArray[np.generic], *shape: int) -> npt.NDArray:
    larger = np.zeros(shape, dtype=array.dtype)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger


def _multiples(log_weight: FloatArray | float, unit: FloatArray | float) -> FloatArray:
    """Return ``exp(log_weight - unit)``; 0 for a weight of 0, also in the unit of nothing."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(log_weight), 0.0, np.exp(np.subtract(log_weight, unit)))


def _largest(group: IntArray, log_weight: FloatArray, groups: int) -> FloatArray:
    """Return the largest log weight of each group, -inf for an empty one."""
    largest = np.full(groups, -np.inf)
    np.maximum.at(largest, group, log_weight)
    return largest
