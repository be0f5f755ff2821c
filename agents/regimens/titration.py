"""A clinic's titration of warfarin where every day can be a visit: Aurora and Intermountain.

On an environment's fixed calendar a dose holds until the next visit (`nomogram`). A trial's replication doses
day by day, so that skipping two doses means two, and a rule may ask for the next INR itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import Flag
from dosewright.envs.scenarios import Band
from dosewright.envs.scenarios.warfarin import AURORA as AURORA_ROWS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Visits = Literal["of the calendar", "and while stopped", "of the rule"]

_SKIPPED_DAYS = 2  # doses that a skip leaves out, and the days between INRs while the drug is stopped
_AFTER_STOP_DAYS = 7
_NEXT_DAY = 1  # a result that did not come: test again the next day (ASSUMPTION)


@dataclass(frozen=True)
class Zone:
    """One range of INR.

    Attributes
    ----------
    name
        Ranges of the same name are one zone where a rule asks whether the INR lay there before.
    band
        The range.
    factor
        On the dose in force; with `repeated`, only where the INR before lay in this zone too.
    today
        Once, on the dose that was in force before: 2 doubles it, 0 leaves it out; 1: nothing special.
    hold
        "skip": two doses are left out before the changed dose; "stop": none is given until the INR is back.
    retest
        Days until the next INR: the first time in the zone, the second in a row, and so on.
    """

    name: str
    band: Band
    factor: float = 1.0
    repeated: bool = False
    today: float = 1.0
    hold: Literal["no", "skip", "stop"] = "no"
    retest: tuple[int, ...] = (7,)


@dataclass(frozen=True)
class TitrationTable:
    """A clinic's table.

    Attributes
    ----------
    zones
        Ranges that cover every INR once.
    first_day
        The first day, counted from 0, whose INR it reads.
    resume_at_most
        INR at or below which a stopped drug is resumed.
    averaged
        Days (first, one past the last), counted from 0, whose mean dose it starts from; None: the dose in
        force.
    flag, source
        Where it is published.
    """

    name: str
    zones: tuple[Zone, ...]
    first_day: int
    resume_at_most: float
    averaged: tuple[int, int] | None
    flag: Flag
    source: str


AURORA = TitrationTable(
    name="Aurora",
    zones=tuple(
        Zone(
            row.band.label, row.band, row.factor, hold=row.hold,
            retest=(1, 5, 7, 14, 28) if row.factor == 1 else (7,),
        )
        for row in AURORA_ROWS.rows
    ),
    first_day=5,
    resume_at_most=AURORA_ROWS.resume_below,
    averaged=None,
    flag=AURORA_ROWS.flag,
    source=AURORA_ROWS.source,
)  # fmt: skip

INTERMOUNTAIN = TitrationTable(
    name="Intermountain",
    zones=(
        Zone("below 1.6", Band("INR below 1.6", below=1.6), 1.10, today=2.0, retest=(5, 14)),
        Zone("1.6 to 1.8", Band("INR 1.6 to 1.8", at_least=1.6, below=1.8), 1.05, today=1.5, retest=(7, 14)),
        Zone("1.8 to 2", Band("INR 1.8 to 2", at_least=1.8, below=2.0), 1.05, repeated=True, retest=(14,)),
        Zone("in range", Band("INR 2 to 3", at_least=2.0, at_most=3.0), retest=(14, 28)),
        Zone("3 to 3.4", Band("INR 3 to 3.4", above=3.0, below=3.4), 0.95, repeated=True, retest=(14,)),
        Zone("3.4 to 5", Band("INR 3.4 to 4", at_least=3.4, below=4.0), 0.90, today=0.5, retest=(7, 14)),
        Zone("3.4 to 5", Band("INR 4 to 5", at_least=4.0, below=5.0), 0.90, today=0.0, retest=(7, 14)),
        Zone("5 and above", Band("INR 5 and above", at_least=5.0), 0.85, hold="stop"),
    ),
    first_day=7,
    # published: back within 1.8 to 3.4; below 1.8 nobody would go on waiting
    resume_at_most=3.4,
    averaged=(4, 7),
    flag="VERIFIED",
    source="Anderson 2007, Circulation 116:2563, Appendix B",
)


@dataclass(frozen=True)
class TitrationState:
    """Memory of n patients; days are counted from 0.

    Attributes
    ----------
    zone : (n,) zone of the INR before; -1: none
    in_a_row : (n,) how often the INR lay there before that
    skipping_until : (n,) first day with a dose again
    stopped : (n,) bool
    next_visit : (n,) day of the INR that the rule asks for; infinite where the calendar's visits suffice
    """

    zone: NDArray[np.int64]
    in_a_row: NDArray[np.int64]
    skipping_until: Floats
    stopped: Bools
    next_visit: Floats

    @classmethod
    def begin(cls, n: int) -> TitrationState:
        """Return the memory of n patients without an INR."""
        zeros = np.zeros(n, dtype=np.int64)
        return cls(zeros - 1, zeros, np.zeros(n), np.zeros(n, dtype=bool), np.full(n, np.inf))


@dataclass(frozen=True)
class Titration:
    """A table, and who chooses the visits.

    Attributes
    ----------
    table
        The clinic's table.
    visits
        "of the calendar": no INR is added, so a stop leaves out two doses, as a skip does (ASSUMPTION);
        "and while stopped": every two days while the drug is stopped, too; "of the rule": the table's own
        intervals.
    """

    table: TitrationTable
    visits: Visits

    def titrate(
        self, state: TitrationState, dose: Floats, day: Floats, inr: Floats
    ) -> tuple[Floats, Floats, TitrationState]:
        """Read the INRs that came in today.

        Parameters
        ----------
        state
            Memory.
        dose : (n,) daily dose in force, mg
        day : (n,) today, counted from 0
        inr : (n,) new result; NaN: none

        Returns
        -------
        dose : (n,) in force from today on
        today : (n,) to be given today
        state
        """
        new, before = ~np.isnan(inr), dose
        back = state.stopped & new & (inr <= self.table.resume_at_most)
        reading = new & ~state.stopped
        zone, in_a_row = state.zone.copy(), state.in_a_row.copy()
        today, wait = np.ones(len(dose)), np.where(back, float(_AFTER_STOP_DAYS), np.nan)
        skipping, stopping = np.zeros(len(dose), dtype=bool), np.zeros(len(dose), dtype=bool)
        names = [item.name for item in self.table.zones]
        for item in self.table.zones:
            place = names.index(item.name)
            here = reading & item.band.contains(inr)
            again = here & (state.zone == place)
            zone[here], in_a_row[here] = place, np.where(again, state.in_a_row + 1, 0)[here]
            dose = np.where(again if item.repeated else here, dose * item.factor, dose)
            today[here] = item.today
            wait[here] = np.array(item.retest)[np.minimum(in_a_row[here], len(item.retest) - 1)]
            stops = item.hold == "stop" and self.visits != "of the calendar"
            stopping |= here & stops
            skipping |= here & (item.hold != "no" and not stops)
        state = replace(
            state,
            zone=zone,
            in_a_row=in_a_row,
            skipping_until=np.where(skipping, day + _SKIPPED_DAYS, state.skipping_until),
            stopped=(state.stopped & ~back) | stopping,
        )
        state = replace(state, next_visit=self._next_visit(state, day, new, wait))
        off = state.stopped | (day < state.skipping_until)
        once = np.where(today == 1, dose, before * today)
        return dose, np.where(off, 0.0, once), state

    def _next_visit(self, state: TitrationState, day: Floats, new: Bools, wait: Floats) -> Floats:
        """Return the day (n,) of the INR that the rule asks for, `wait` (n,) days after one that was read."""
        missed = ~new & (day >= state.next_visit)
        asked = np.where(missed, day + _NEXT_DAY, np.where(np.isnan(wait), state.next_visit, day + wait))
        asked = np.where(state.stopped & (new | missed), day + _SKIPPED_DAYS, asked)
        return asked if self.visits == "of the rule" else np.where(state.stopped, asked, np.inf)
