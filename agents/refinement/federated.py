"""One population from several hospitals that never share a patient: rounds of EM as files in a folder.

A federation is a folder, whose files may travel by any means::

    federation.json                 who takes part, what the published model is worth, how patients are hidden
    round-000/population.json       that round's population, which every site answers
    round-000/moments-<site>.json   an answer: sums over the site's patients
    round-001/population.json       the next population, once all sites have answered

A site's answer is `Evidence.moments`, and the coordinator's step is that of `Refit`, so the answer is the one
that all patients in one place would give. Groups with shifts of their own are those of the population that
the federation begins with: which groups there should be is not chosen over sites.

Sums over few patients, or two that differ by one, may still tell of somebody. So a site can hide each of its
patients (`Privacy`): it clips what each adds, and adds noise of its own before anything leaves it. No
coordinator has to be trusted with more than that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation.population import WORTH, Evidence, Moments, Refit, RefittedPopulation
from dosewright.agents.refinement.factors import FactorMaker, factors_of, unpacked
from dosewright.agents.refinement.store import Store
from dosewright.envs import Scenario
from dosewright.evaluation.result_folder import write_json

Floats = NDArray[np.float64]

_SCHEMA = 1
_PLAN, _POPULATION = "federation.json", "population.json"
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEAST_VARIANCE = 0.1  # of the published one in any direction: less is noise's doing


# ------------------------------------------------------------------------------------------------ privacy


@dataclass(frozen=True)
class Budget:
    """What rounds of noised answers may tell of any one patient.

    Attributes
    ----------
    rounds
        Answers that each site gave.
    rho
        Of zero-concentrated differential privacy.
    epsilon, delta
        Of differential privacy that follows from it. Neighbours differ by one patient who is there or not.
    """

    rounds: int
    rho: float
    epsilon: float
    delta: float


@dataclass(frozen=True)
class Privacy:
    """How a site hides each of its patients.

    What a patient adds to the sums is one vector: the memberships, the expected effects and the expected
    products of effects, each entry of a symmetric matrix once. Effects are divided by their published SD;
    they and their products are counted from what the population that is asked about expects, which is no
    secret, so that who is as expected has a short vector. It is shortened to length `clip`, and normal noise
    with an SD of ``noise × clip`` is added to every entry of the site's sum. One patient more or less changes
    the sum by at most `clip`, so one answer is 1 / (2 noise²)-zCDP, and these add up over rounds, though each
    round depends on the ones before (Bun M, Steinke T. TCC 2016; Propositions 1.3 and 1.6, Lemma 1.7). Sites
    have patients of their own, so that more of them cost nothing. Log marginal likelihoods, the true number
    of patients and the share of those who were clipped are not sent.

    Attributes
    ----------
    clip
        Longest vector of a patient.
    noise
        SD of the noise over `clip`.
    seeded
        Whether the noise can be drawn again from a seed, as tests do. Such noise hides nobody.

    Raises
    ------
    ValueError
        For a clip or noise that is not above 0.

    Notes
    -----
    Noise is NumPy's, in double precision, from the operating system's entropy: no defence against who
    exploits the last bits of floating-point noise (Mironov I. CCS 2012).
    """

    clip: float
    noise: float
    seeded: bool = False

    def __post_init__(self) -> None:
        for name, value in (("clip", self.clip), ("noise", self.noise)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value}; expected a number above 0")

    @property
    def sd(self) -> float:
        """Of the noise in each entry of one site's sums."""
        return self.noise * self.clip

    def budget(self, rounds: int, delta: float) -> Budget:
        """Return what so many answers cost: ρ = rounds / (2 noise²), ε = ρ + 2 √(ρ ln(1/δ)).

        Raises
        ------
        ValueError
            For noise from a seed, which has no ε; and for a δ that is not between 0 and 1.
        """
        if self.seeded:
            raise ValueError(
                "the noise is from a seed, so it hides nobody and has no epsilon; draw it without"
            )
        if not 0 < delta < 1:
            raise ValueError(f"delta = {delta}; expected a probability between 0 and 1, such as 1e-5")
        rho = rounds / (2.0 * self.noise**2)
        return Budget(rounds, rho, rho + 2.0 * math.sqrt(rho * math.log(1.0 / delta)), delta)


def contributions(
    evidence: Evidence, population: RefittedPopulation, scale: Floats, privacy: Privacy
) -> Floats:
    """Return what each patient adds to a hidden answer, clipped, (n, q).

    Parameters
    ----------
    scale : (d,) published SD of the effects
    """
    design, cross, square, _ = evidence.expected(population)
    n, (z, zz), (e, ee) = len(design), np.triu_indices(design.shape[1]), np.triu_indices(len(scale))
    b = population.coefficients
    apart = cross - design @ b
    spread = square - _both(np.einsum("nid,ie->nde", apart, b)) - b.T @ design @ b - population.omega
    parts = (
        design[:, z, zz],
        (apart / scale).reshape(n, -1),
        (spread / np.outer(scale, scale))[:, e, ee],
    )
    vector = evidence.weight[:, None] * np.concatenate(parts, axis=1)
    length = np.sqrt(np.einsum("nq,nq->n", vector, vector))
    return vector * (privacy.clip / np.maximum(length, privacy.clip))[:, None]


def _moments(sums: Floats, population: RefittedPopulation, scale: Floats) -> Moments:
    """Return the moments of patients from the sum (q,) of `contributions`."""
    b = population.coefficients
    g, d = b.shape
    first = g * (g + 1) // 2
    design = _symmetric(sums[:first], g)
    apart = sums[first : first + g * d].reshape(g, d) * scale
    spread = _symmetric(sums[first + g * d :], d) * np.outer(scale, scale)
    patients = float(design[0, 0])
    square = spread + _both(apart.T @ b) + b.T @ design @ b + patients * population.omega
    return Moments(patients, design, apart + design @ b, square, math.nan)


def _both(matrix: Floats) -> Floats:
    """Return matrices (..., d, d) and their transposes, added."""
    return matrix + np.swapaxes(matrix, -1, -2)


def _symmetric(upper: Floats, size: int) -> Floats:
    """Return the matrix (size, size) with this upper triangle."""
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = upper
    return matrix + np.triu(matrix, 1).T


def _floored(matrix: Floats, least: float) -> Floats:
    """Return a symmetric matrix with no eigenvalue below `least`."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] >= least:
        return matrix
    raised = (vectors * np.maximum(values, least)) @ vectors.T
    return 0.5 * (raised + raised.T)


# ------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True, eq=False)
class Answer:
    """What a site says about its patients in one round: the content of a moments file.

    Attributes
    ----------
    site
        Name of the site: letters, digits, dots, dashes and underscores.
    drug, version
        Scenario.
    population
        Hash of the population that it answers.
    moments
        Sums over its patients; their log marginal likelihood is NaN where they are hidden.
    privacy
        How they are hidden; None: not.
    """

    site: str
    drug: str
    version: int
    population: str
    moments: Moments
    privacy: Privacy | None = None

    @classmethod
    def of(
        cls,
        site: str,
        evidence: Evidence,
        population: RefittedPopulation,
        published: RefittedPopulation,
        privacy: Privacy | None = None,
        seed: int | None = None,
    ) -> Answer:
        """Return a site's answer to a population.

        Parameters
        ----------
        evidence
            Of the site's patients.
        published
            The population as published, in whose SD effects are counted.
        privacy
            How patients are hidden; None: not.
        seed
            Of the noise, for tests; by default it is from the operating system. Noise from a seed hides
            nobody, and the answer says so.

        Raises
        ------
        ValueError
            For another scenario, or a name that is none.
        """
        if not _SITE.fullmatch(site):
            raise ValueError(f"site {site!r}: expected letters, digits, '.', '-' and '_', at most 64")
        _check_scenario(population, published, "population")
        said = population_hash(population)
        if privacy is None:
            moments = evidence.moments(population)
            return cls(site, population.drug, population.version, said, moments)
        # every site and round has noise of its own, in tests as well
        key = None if seed is None else [seed, *sha256(f"{said} {site}".encode()).digest()]
        scale = np.sqrt(np.diagonal(published.omega))
        sums = contributions(evidence, population, scale, privacy).sum(axis=0)
        sums += np.random.default_rng(key).normal(0.0, privacy.sd, len(sums))
        moments = _moments(sums, population, scale)
        shown = replace(privacy, seeded=seed is not None)
        return cls(site, population.drug, population.version, said, moments, shown)

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready data, for `parse`: floats come back exactly."""
        hidden, moments = self.privacy, self.moments
        return {
            "schema": _SCHEMA,
            "site": self.site,
            "drug": self.drug,
            "scenario_version": self.version,
            "population": self.population,
            "privacy": None if hidden is None else _privacy_record(hidden),
            "patients": moments.patients,
            "design": moments.design.tolist(),
            "cross": moments.cross.tolist(),
            "square": moments.square.tolist(),
            "log_marginal": moments.log_marginal if hidden is None else None,
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any], place: str) -> Answer:
        """Return the answer of a `record`.

        Parameters
        ----------
        place
            Where it stands, for errors.

        Raises
        ------
        ValueError
            For a record of another schema, or one that is broken; and for numbers that are none.
        """
        if record.get("schema") != _SCHEMA:
            raise ValueError(
                f"{place}: moments of schema {record.get('schema')!r}; this version reads {_SCHEMA}: let the "
                "site answer with this version of dosewright"
            )
        try:
            hidden = record["privacy"]
            moments = Moments(
                float(record["patients"]),
                *(np.array(record[name], dtype=np.float64) for name in ("design", "cross", "square")),
                log_marginal=float(record["log_marginal"]) if hidden is None else math.nan,
            )
            found = cls(
                str(record["site"]),
                str(record["drug"]),
                int(record["scenario_version"]),
                str(record["population"]),
                moments,
                None if hidden is None else _parsed_privacy(hidden),
            )
        except (KeyError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{place}: broken ({why}); let the site answer again") from None
        found.check(place)
        return found

    def check(self, place: str) -> None:
        """Refuse numbers that are none, and shapes that do not belong together."""
        moments = self.moments
        told = [moments.patients, *([] if self.privacy is not None else [moments.log_marginal])]
        for name in ("design", "cross", "square"):
            told += getattr(moments, name).ravel().tolist()
        if not np.isfinite(told).all():
            raise ValueError(f"{place}: a number is not finite; let site {self.site!r} answer again")
        g, d = moments.cross.shape if moments.cross.ndim == 2 else (0, 0)
        if moments.design.shape != (g, g) or moments.square.shape != (d, d):
            raise ValueError(
                f"{place}: design {moments.design.shape}, cross {moments.cross.shape} and square "
                f"{moments.square.shape} do not belong together; let site {self.site!r} answer again"
            )


def population_hash(population: RefittedPopulation) -> str:
    """Return the SHA-256, in hexadecimal, of all numbers of a population."""
    text = json.dumps(population.record(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode()).hexdigest()


def stepped(refit: Refit, population: RefittedPopulation, answers: Sequence[Answer]) -> RefittedPopulation:
    """Return the next population from the answers of all sites: the very step of `Refit`.

    What noise has made of sums is repaired first, which costs no privacy: memberships are at least as many as
    the noise in them, and the covariance is at least a tenth of the published one in every direction.

    Raises
    ------
    ValueError
        For no answer, two of one site, and one to another population, of another scenario version, of other
        effects, or hidden in another way.
    """
    if not answers:
        raise ValueError("no site has answered; a step needs the moments of at least one")
    for number, item in enumerate(answers):
        _check_answer(item, population, answers[:number])
    first, *others = [item.moments for item in answers]
    moments = sum(others, first)
    privacy = answers[0].privacy
    if privacy is None:
        return refit.step(population, moments)
    # below its own noise a number of people is not known
    design = _floored(moments.design, privacy.sd * math.sqrt(len(answers)))
    moments = replace(moments, patients=float(design[0, 0]), design=design)
    found = refit.step(population, moments)
    root = np.linalg.cholesky(refit.published.omega)
    whitening = np.linalg.inv(root)
    omega = root @ _floored(whitening @ found.omega @ whitening.T, _LEAST_VARIANCE) @ root.T
    return replace(found, omega=0.5 * (omega + omega.T))


def _check_answer(answer: Answer, population: RefittedPopulation, before: Sequence[Answer]) -> None:
    """Refuse an answer that does not belong to a population and the answers before it."""
    here, d = f"site {answer.site!r}", len(population.names)
    if any(item.site == answer.site for item in before):
        raise ValueError(f"{here} answered twice; keep the moments that it stands by")
    if (answer.drug, answer.version) != (population.drug, population.version):
        raise ValueError(
            f"{here}: moments for {answer.drug} version {answer.version}; expected {population.drug} version "
            f"{population.version}"
        )
    if answer.population != population_hash(population):
        raise ValueError(
            f"{here}: moments under population {answer.population[:12]}; this round's is "
            f"{population_hash(population)[:12]}: let the site answer that"
        )
    if answer.moments.cross.shape != (1 + len(population.terms), d):
        raise ValueError(
            f"{here}: cross {answer.moments.cross.shape}; expected {(1 + len(population.terms), d)}: "
            f"{', '.join(population.names)}"
        )
    if before and not _alike(answer.privacy, before[0].privacy):
        raise ValueError(
            f"{here}: {_words(answer.privacy)}, site {before[0].site!r} {_words(before[0].privacy)}; all "
            "hide their patients in one way"
        )


def _check_scenario(population: RefittedPopulation, published: RefittedPopulation, what: str) -> None:
    wanted, given = (published.drug, published.version), (population.drug, population.version)
    if given != wanted or population.names != published.names:
        raise ValueError(
            f"{what} of {given[0]} version {given[1]} over {', '.join(population.names)}; expected "
            f"{wanted[0]} version {wanted[1]} over {', '.join(published.names)}"
        )


def _alike(one: Privacy | None, other: Privacy | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.clip, one.noise) == (other.clip, other.noise)


def _words(privacy: Privacy | None) -> str:
    return "not hidden" if privacy is None else f"hidden by clip {privacy.clip:g}, noise {privacy.noise:g}"


def _privacy_record(privacy: Privacy) -> dict[str, Any]:
    return {"clip": privacy.clip, "noise": privacy.noise, "seeded": privacy.seeded}


def _parsed_privacy(record: Mapping[str, Any]) -> Privacy:
    return Privacy(float(record["clip"]), float(record["noise"]), bool(record["seeded"]))


# ------------------------------------------------------------------------------------------------- rounds


@dataclass(frozen=True)
class Federation:
    """Several sites that learn one population, as the folder that its coordinator keeps.

    Attributes
    ----------
    folder
        Where the rounds are.
    scenario
        The published decision problem.
    sites
        Who takes part; a round is over when all have answered.
    worth
        Patients that the published model counts for.
    privacy
        How every site hides its patients; None: not.
    """

    folder: Path
    scenario: Scenario
    sites: tuple[str, ...]
    worth: float = WORTH
    privacy: Privacy | None = None

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        scenario: Scenario,
        sites: Sequence[str],
        *,
        worth: float = WORTH,
        privacy: Privacy | None = None,
        start: RefittedPopulation | None = None,
    ) -> Federation:
        """Make the folder of a new federation, with the population that the first round asks about.

        Parameters
        ----------
        start
            The population to begin with, whose groups are kept; by default the published one, without groups.

        Raises
        ------
        ValueError
            For a folder that holds something already; no site, two of one name, or one whose name is none;
            and for a start of another scenario.
        """
        made = cls(Path(folder), scenario, tuple(sites), worth, privacy)
        published = made.refit.published
        first = published if start is None else start
        _check_scenario(first, published, "population to begin with")
        first.scenario(scenario)  # refuses groups that are none
        _check_sites(made.sites)
        if made.folder.exists() and any(made.folder.iterdir()):
            raise ValueError(f"{made.folder}: holds something already; begin in a new folder")
        made.folder.mkdir(parents=True, exist_ok=True)
        plan = {
            "schema": _SCHEMA,
            "drug": scenario.name,
            "scenario_version": scenario.version,
            "sites": list(made.sites),
            "worth": worth,
            "privacy": None if privacy is None else _privacy_record(privacy),
        }
        made._write_round(0, first)
        write_json(plan, made.folder / _PLAN)
        return made

    @classmethod
    def open(cls, folder: str | Path, scenario: Scenario) -> Federation:
        """Return the federation of a folder.

        Raises
        ------
        ValueError
            For a folder without one, one of another scenario version, or a broken plan.
        """
        path = Path(folder)
        plan = plan_of(path)
        given = (plan["drug"], plan["scenario_version"])
        if given != (scenario.name, scenario.version):
            raise ValueError(
                f"{path}: a federation for {given[0]} version {given[1]}; this is {scenario.name} version "
                f"{scenario.version}: begin anew"
            )
        hidden = plan["privacy"]
        return cls(
            path,
            scenario,
            tuple(plan["sites"]),
            float(plan["worth"]),
            None if hidden is None else _parsed_privacy(hidden),
        )

    @property
    def refit(self) -> Refit:
        """The EM whose steps are taken."""
        return Refit(self.scenario, self.worth)

    @property
    def round(self) -> int:
        """Number of the round that is asked now, from 0: as many are over."""
        rounds = len(list(self._populations()))
        if not rounds:
            raise ValueError(f"{self.folder}: round 0 has no {_POPULATION}; restore it, or begin anew")
        return rounds - 1

    def population(self, number: int) -> RefittedPopulation:
        """Return the population of a round."""
        found = read_population(self.place(number) / _POPULATION)
        _check_scenario(found, self.refit.published, f"{self.place(number) / _POPULATION}: population")
        return found

    def place(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.folder / f"round-{number:03d}"

    def put(self, answer: Answer) -> Path:
        """Write an answer into the round that is asked now; return the file."""
        file = self.place(self.round) / f"moments-{answer.site}.json"
        write_json(answer.record(), file)
        return file

    def answers(self, number: int) -> list[Answer]:
        """Return the answers of a round, in the order of their sites' names: sums are the same whichever came
        first.

        Raises
        ------
        ValueError
            For a file that is broken.
        """
        files = sorted(self.place(number).glob("moments-*.json"))
        found = [Answer.parse(_read_json(file), str(file)) for file in files]
        return sorted(found, key=lambda item: item.site)

    def step(self) -> RefittedPopulation:
        """End the round: write the next population from the answers of all sites, and return it.

        Raises
        ------
        ValueError
            While a site has not answered; for one that does not take part, or hides its patients in another
            way than agreed; and as `stepped`.
        """
        number = self.round
        answers, here = self.answers(number), self.place(number)
        known = {item.site for item in answers}
        missing = [site for site in self.sites if site not in known]
        if missing:
            raise ValueError(
                f"{here}: no moments of {', '.join(missing)} yet; a round needs those of all sites"
            )
        for item in answers:
            if item.site not in self.sites:
                raise ValueError(
                    f"{here}: moments of {item.site}, which takes no part; sites: {', '.join(self.sites)}"
                )
            if not _alike(item.privacy, self.privacy):
                raise ValueError(
                    f"{here}: patients of {item.site} are {_words(item.privacy)}; agreed was: "
                    f"{_words(self.privacy)}"
                )
        found = stepped(self.refit, self.population(number), answers)
        self._write_round(number + 1, found)
        return found

    def budget(self, delta: float) -> Budget:
        """Return what the rounds that are over have cost.

        Raises
        ------
        ValueError
            Where patients are not hidden, or by noise from a seed.
        """
        if self.privacy is None:
            raise ValueError(f"{self.folder}: patients are not hidden, so there is no budget")
        seeded = any(
            item.privacy is not None and item.privacy.seeded
            for number in range(self.round)
            for item in self.answers(number)
        )
        return replace(self.privacy, seeded=seeded or self.privacy.seeded).budget(self.round, delta)

    def _populations(self) -> Iterator[Path]:
        """Give the population files of all rounds, in order."""
        number = 0
        while (file := self.place(number) / _POPULATION).is_file():
            yield file
            number += 1

    def _write_round(self, number: int, population: RefittedPopulation) -> None:
        self.place(number).mkdir(exist_ok=True)
        write_json(population.record(), self.place(number) / _POPULATION)


def plan_of(folder: Path) -> dict[str, Any]:
    """Return the plan of a federation's folder, its fields checked; "drug" says whose it is.

    Raises
    ------
    ValueError
        For a folder without one, or with one of another schema or that is broken.
    """
    file = folder / _PLAN
    if not file.is_file():
        raise ValueError(f"{folder}: has no {_PLAN}; give the folder of a federation, or begin one")
    plan = _read_json(file)
    if plan.get("schema") != _SCHEMA:
        raise ValueError(
            f"{file}: a federation of schema {plan.get('schema')!r}; this version reads {_SCHEMA}: begin anew"
        )
    lacking = [name for name in ("drug", "scenario_version", "sites", "worth", "privacy") if name not in plan]
    if lacking:
        raise ValueError(f"{file}: {', '.join(lacking)} missing; restore it, or begin anew")
    return plan


def read_population(file: Path) -> RefittedPopulation:
    """Read a population file.

    Raises
    ------
    ValueError
        For a file that is none or broken.
    """
    try:
        return RefittedPopulation.parse(_read_json(file))
    except ValueError as error:
        raise ValueError(str(error) if str(file) in str(error) else f"{file}: {error}") from None


def stored_evidence(store: Store, maker: FactorMaker) -> Evidence | None:
    """Return what the patients of a store say of their population; None where there is nobody with a result.
    Factors that have to be made are not stored."""
    held, made = factors_of(store, maker)
    blobs = {item.patient: item.blob for item in (*held, *made)}
    return unpacked([blobs[name] for name in sorted(blobs)]) if blobs else None


def _check_sites(sites: Sequence[str]) -> None:
    if not sites:
        raise ValueError("no site takes part; name at least one")
    for number, site in enumerate(sites):
        if not _SITE.fullmatch(site):
            raise ValueError(f"site {site!r}: expected letters, digits, '.', '-' and '_', at most 64")
        if site in sites[:number]:
            raise ValueError(f"site {site!r} is named twice; give every site a name of its own")


def _read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object whose numbers are all finite."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"{file}: no JSON that can be read ({error}); have it sent again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected a JSON object; have it sent again")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
