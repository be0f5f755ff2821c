"""What every population model must obey, whatever its drug: one suite over all of them.

A patient is a typical one at the reference values of the model's covariates, with the first allele of every
gene twice. Models with linear kinetics are exact to 1e-9; the others to 1e-6 of a column's largest value.
"""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from dosewright.envs.pharmacology import (
    Dose,
    Driven,
    GenotypeTerm,
    Linear,
    PopulationModel,
    Tailored,
    follow,
    models,
    simulate,
    steady_state,
)
from dosewright.envs.pharmacology.events import schedule_events

Floats = NDArray[np.float64]

# Models whose rates depend on the time since the start by their equations (`breaks` speak for themselves).
CLOCKED: frozenset[str] = frozenset()
# Amounts, in the model's unit, where 100 a day is too much: the cells would all die.
AMOUNT = {"docetaxel_friberg2002": 20.0, "docetaxel_kloft2006": 20.0, "docetaxel_ozawa2007": 20.0}
# No steady state: the inhibitor of Kim's model only accumulates, and clearance falls for ever.
NEVER_STEADY = frozenset({"voriconazole_kim2019"})
# Doses until repeated dosing is steady: leukocytes swing with a period of months, damped over years.
CYCLES = {"mercaptopurine_gebhard2023": 10_000, "mercaptopurine_gebhard2023_mid_therapy": 10_000}
# States that are no amounts of drug: what they gain is not lost elsewhere.
NO_AMOUNTS = frozenset({"Ce"})
# A cycle of dosing, by the model's unit of time.
CYCLE = {"h": 24.0, "day": 1.0, "min": 60.0}


def found() -> dict[str, tuple[ModuleType, PopulationModel]]:
    """Module and model, by the model's name, of every model in the folder."""
    seen: dict[str, tuple[ModuleType, PopulationModel]] = {}
    objects: set[int] = set()
    for info in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"{models.__name__}.{info.name}")
        for item in vars(module).values():
            if isinstance(item, PopulationModel) and id(item) not in objects:
                objects.add(id(item))
                assert item.name not in seen, f"two models are named {item.name}"
                seen[item.name] = (module, item)
    return seen


FOUND = found()
MODELS = {name: model for name, (_, model) in FOUND.items()}
LINEAR = [name for name, model in MODELS.items() if isinstance(model.solver, Linear)]
UNCLOCKED = [name for name, model in MODELS.items() if not model.breaks and name not in CLOCKED]
STEADY = [name for name in UNCLOCKED if name not in NEVER_STEADY]

each = pytest.mark.parametrize("name", MODELS)
each_linear = pytest.mark.parametrize("name", LINEAR)
each_driven = pytest.mark.parametrize(
    "name", [name for name, model in MODELS.items() if isinstance(model.solver, Driven)]
)
each_unclocked = pytest.mark.parametrize("name", UNCLOCKED)
each_steady = pytest.mark.parametrize("name", STEADY)


def reference_effect(term: GenotypeTerm) -> float:
    """The effect of the first allele twice."""
    first = next(iter(term.per_allele))
    return term.pairs[first, first] if term.pairs else 2 * term.per_allele[first]


def typical(model: PopulationModel, **covariates: float) -> Floats:
    """(p,) parameters of the typical patient."""
    known = {item.name: item.reference for item in model.covariates} | covariates
    effects = {term.effect: reference_effect(term) for term in model.genotype_terms}
    return model.typical(known, effects)[0]


def people(model: PopulationModel, n: int = 6, width: float = 0.5) -> Floats:
    """(n, p) parameters of patients who differ, by random effects half as wide as published."""
    z = np.random.default_rng(1).standard_normal((n, len(model.random_effects)))
    values, vectors = np.linalg.eigh(model.omega) if len(model.omega) else (np.zeros(0), np.zeros((0, 0)))
    eta = width * z * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return model.individual(np.tile(typical(model), (n, 1)), eta)


def one(model: PopulationModel) -> Floats:
    """(p,) final parameters of the typical patient."""
    return model.individual(typical(model)[None], np.zeros((1, len(model.random_effects))))[0]


def dose(model: PopulationModel, time: float, share: float = 1.0) -> Dose:
    """A dose by the first route, `time` in cycles; where that is the infusion, over one unit of time."""
    duration = 1.0 if model.routes[0].name == "infusion" else 0.0
    return Dose(time * CYCLE[model.time_unit], share * AMOUNT.get(model.name, 100.0), duration)


def schedule(model: PopulationModel) -> list[Dose]:
    return [dose(model, 0.0), dose(model, 1.0, 0.5), dose(model, 1.6, 0.25), dose(model, 4.0)]


def samples(model: PopulationModel) -> Floats:
    """Sampling times over ten cycles: before, at and soon after doses, and long after them."""
    return CYCLE[model.time_unit] * np.array([0.0, 0.02, 0.1, 0.5, 1.0, 1.05, 1.7, 2.5, 4.0, 4.1, 6.0, 10.0])


def agree(model: PopulationModel, got: Floats, expected: Floats, least: Floats | float = 0.0) -> None:
    """Every column within the model's tolerance of its largest value; of `least`, where that is more."""
    within = 1e-9 if isinstance(model.solver, Linear) else 1e-6
    size = np.maximum(np.abs(expected).max(axis=0), least)
    off = np.abs(got - expected).max(axis=0) / np.where(size > 0, size, 1.0)
    assert np.all(off <= within), f"off by {off} of each column's maximum"


def states(
    model: PopulationModel, theta: Floats, doses: Sequence[Dose], end: float, begin: float = 0.0
) -> tuple[Floats, Floats]:
    """State (s,) at `end`, and outputs (1, k) there, of a patient who begins without drug at `begin`."""
    state = model.initial(theta[None])
    routes = [route.name for route in model.routes]
    events = schedule_events([doses], routes, np.array([end]), np.zeros(1), model.time_unit)
    chosen = np.arange(len(model.outputs))
    out = follow(model, state, theta[None, None], events, chosen, 1, begin=np.array([begin]))
    return state[0], out[0]


# --------------------------------------------------------------------------------------- what is written down


@each
def test_names_are_unique_and_everything_has_a_unit(name: str) -> None:
    model = MODELS[name]
    for items in (model.parameters, model.outputs, model.covariates):
        counted = Counter(item.name for item in items)
        assert max(counted.values(), default=1) == 1, counted
        assert all(item.name and item.unit for item in items)
    assert len(set(model.states)) == len(model.states)
    assert len({route.name for route in model.routes}) == len(model.routes)
    assert model.time_unit in CYCLE and model.amount_unit


@each
def test_docstring_names_the_source(name: str) -> None:
    module, model = FOUND[name]
    assert model.title and model.sources and all(model.sources)
    author = model.sources[0].split()[0].rstrip(",")
    assert author in (module.__doc__ or ""), f"{author} is not in the docstring"


@each
def test_routes_lead_into_states_by_parameters_of_the_model(name: str) -> None:
    model = MODELS[name]
    for route in model.routes:
        assert route.state in model.states
        parts = route.fraction if isinstance(route.fraction, tuple) else (route.fraction,)
        assert all(part > 0 if isinstance(part, float) else model.column(str(part)) >= 0 for part in parts)
        assert route.lag is None or model.column(route.lag) >= 0


@each
def test_reference_of_every_covariate_is_within_its_range(name: str) -> None:
    for item in MODELS[name].covariates:
        assert item.low <= item.reference <= item.high, item
        assert item.least < item.reference, item


@each
def test_baseline_is_a_parameter_and_a_covariate(name: str) -> None:
    model = MODELS[name]
    if model.baseline is None:
        assert "baseline" not in {item.name for item in model.covariates}
    else:
        assert typical(model, baseline=1.1)[model.column(model.baseline)] == 1.1


@each
def test_tailored_solver_has_the_equations_it_solves(name: str) -> None:
    model = MODELS[name]
    assert (model.rhs is not None) == isinstance(model.solver, Tailored)


@each
def test_driven_solver_has_a_scale_for_every_state_it_integrates(name: str) -> None:
    model = MODELS[name]
    if isinstance(model.solver, Driven):
        assert len(model.solver.scale) == len(model.states) - model.solver.linear
        assert all(size > 0 for size in model.solver.scale)


# ------------------------------------------------------------------------------------------------ parameters


@each
def test_typical_parameters_fill_their_columns(name: str) -> None:
    model = MODELS[name]
    theta = typical(model)
    assert theta.shape == (len(model.parameters),) and np.isfinite(theta).all()
    initial = model.initial(theta[None])
    assert initial.shape == (1, len(model.states)) and np.isfinite(initial).all()


@each
def test_typical_parameters_of_many_are_those_of_each(name: str) -> None:
    model = MODELS[name]
    low = {c.name: c.low if np.isfinite(c.low) else c.reference for c in model.covariates}
    high = {c.name: c.high if np.isfinite(c.high) else c.reference for c in model.covariates}
    effects = {term.effect: np.full(2, reference_effect(term)) for term in model.genotype_terms}
    both = model.typical({key: np.array([low[key], high[key]]) for key in low}, effects)
    assert np.isfinite(both).all()
    for i, known in enumerate((low, high)):
        np.testing.assert_allclose(both[min(i, len(both) - 1)], typical(model, **known), rtol=1e-14)


@each
def test_genotypes_of_every_term_have_a_number(name: str) -> None:
    for term in MODELS[name].genotype_terms:
        alleles = list(term.per_allele)
        assert len(alleles) > 1
        assert all(np.isfinite(value) for value in (*term.per_allele.values(), *term.pairs.values()))
        assert all(a in alleles and b in alleles for a, b in term.pairs)
        if term.pairs:  # every pair once, in the order of the alleles
            expected = {(a, b) for i, a in enumerate(alleles) for b in alleles[i:]}
            assert set(term.pairs) == expected
        assert set(term.by_function.values()) | set(term.same_as.values()) <= set(alleles)
        for group, shares in term.frequencies.items():
            assert set(shares) <= set(alleles) and sum(shares.values()) == pytest.approx(1.0), group


@each
def test_omega_is_symmetric_and_positive_semi_definite(name: str) -> None:
    omega = MODELS[name].omega
    assert np.array_equal(omega, omega.T)
    if len(omega):
        values = np.linalg.eigvalsh(omega)
        assert values.min() >= -1e-12 * values.max()


@each
def test_covariances_are_those_of_two_random_effects(name: str) -> None:
    # a covariance of a parameter with itself, or twice the same pair, would be overwritten in silence
    model = MODELS[name]
    effects = {model.parameters[i].name for i in model.random_effects}
    pairs = [frozenset(pair) for pair in model.covariances]
    assert all(len(pair) == 2 and pair <= effects for pair in pairs) and len(set(pairs)) == len(pairs)


@each
def test_individual_without_random_effects_is_the_typical_patient(name: str) -> None:
    model = MODELS[name]
    theta = typical(model)[None]
    got = model.individual(theta, np.zeros((1, len(model.random_effects))))
    expected = theta if model.combine is None else model.combine(theta.copy())
    np.testing.assert_allclose(got, expected, rtol=1e-14)


# ------------------------------------------------------------------------------------------------- in time


@each
def test_outputs_are_finite(name: str) -> None:
    model = MODELS[name]
    got = simulate(model, people(model), schedule(model), samples(model))
    assert np.isfinite(got).all()
    assert got.shape == (6, len(samples(model)), len(model.outputs))


@each
def test_a_dose_changes_some_output(name: str) -> None:
    model, times = MODELS[name], samples(MODELS[name])
    with_drug, without = (simulate(model, one(model), doses, times)[0] for doses in (schedule(model), []))
    assert np.abs(with_drug - without).max() > 1e-3 * np.abs(with_drug).max()
    assert np.array_equal(with_drug[0], without[0])  # at time 0: the value before the dose


@each
def test_untreated_patients_start_at_their_baseline(name: str) -> None:
    model = MODELS[name]
    got = simulate(model, one(model), [], [0.0])[0, 0]
    assert np.isfinite(got).all()
    if model.baseline is not None:
        response = one(model)[model.column(model.baseline)]
        assert got[0] == pytest.approx(response, rel=1e-12)
        # and stay there: the baseline is the response without drug
        later = simulate(model, one(model), [], [10 * CYCLE[model.time_unit]])[0, 0]
        agree(model, later[None], got[None])


@each_unclocked
def test_time_since_the_start_does_not_matter(name: str) -> None:
    model, theta, shift = MODELS[name], one(MODELS[name]), 137.3 * CYCLE[MODELS[name].time_unit]
    later = [item._replace(time=item.time + shift) for item in schedule(model)]
    ends = samples(model)[[4, 7, 11]]
    at_once = [states(model, theta, schedule(model), float(end)) for end in ends]
    shifted = [states(model, theta, later, float(end + shift), begin=shift) for end in ends]
    # hours since the start round to 1e-13 of themselves, more than hours since a dose
    for got, expected in zip(zip(*shifted, strict=True), zip(*at_once, strict=True), strict=True):
        agree(model, np.vstack(got), np.vstack(expected))


@each_unclocked
def test_a_long_quiet_time_before_the_doses_changes_nothing(name: str) -> None:
    # steps grow while nothing happens; the first one after it must not pass over the absorption of a dose
    model, theta, every = MODELS[name], one(MODELS[name]), CYCLE[MODELS[name].time_unit]
    quiet, ends = 200.0, np.array([2.0, 6.0])
    initial = model.initial(theta[None])
    state, _ = states(model, theta, [], quiet * every)
    if np.abs(state - initial).max() > 1e-9 * np.abs(initial).max():
        pytest.skip("does not begin at rest")
    doses = [dose(model, 0.0), dose(model, 1.0, 0.5)]
    at_once = simulate(model, theta, doses, ends * every)[0]
    later = [item._replace(time=item.time + quiet * every) for item in doses]
    agree(model, simulate(model, theta, later, (ends + quiet) * every)[0], at_once)


@each
def test_more_samples_change_nothing(name: str) -> None:
    model, few = MODELS[name], samples(MODELS[name])
    more = np.sort(np.concatenate([few, np.random.default_rng(2).uniform(0, few[-1], 80)]))
    whole = simulate(model, one(model), schedule(model), few)[0]
    split = simulate(model, one(model), schedule(model), more)[0][np.searchsorted(more, few)]
    agree(model, split, whole)


@each_driven
def test_a_much_finer_run_agrees(name: str) -> None:
    # cells that almost die out grow back from the little that is left: an error far below `Driven.scale` is a
    # large one of theirs, and of everything that follows
    model = MODELS[name]
    assert isinstance(model.solver, Driven)
    nothing = (1e-100,) * len(model.solver.scale)
    fine = replace(model, solver=replace(model.solver, scale=nothing, tolerance=1e-11))
    doses, days = [dose(model, 0.0, 10.0), dose(model, 21.0, 10.0)], np.array([1.0, 7.0, 14.0, 21.0, 42.0])
    theta = people(model, 100, width=1.0)
    got, expected = (simulate(m, theta, doses, days * CYCLE[m.time_unit]) for m in (model, fine))
    for i in range(len(theta)):
        agree(model, got[i], expected[i])


@each
def test_patients_are_independent_of_batch_and_order(name: str) -> None:
    model, theta, times = MODELS[name], people(MODELS[name]), samples(MODELS[name])
    doses = [[dose(model, 0.3 * i), *([dose(model, 2.2, 0.5)] if i % 2 else [])] for i in range(len(theta))]
    whole = simulate(model, theta, doses, times)
    order = np.array([3, 0, 5, 1, 4, 2])
    assert np.array_equal(simulate(model, theta[order], [doses[i] for i in order], times), whole[order])
    assert np.array_equal(simulate(model, theta[2], doses[2], times)[0], whole[2])


# ------------------------------------------------------------------------------------------ linear kinetics


@each_linear
def test_linear_amounts_superpose(name: str) -> None:
    model, theta = MODELS[name], one(MODELS[name])
    both = schedule(model)
    first, second = both[:2], both[2:]
    for end in samples(model)[[5, 8, 11]]:
        nothing, a, b, together = (
            states(model, theta, doses, float(end))[0] for doses in ([], first, second, both)
        )
        np.testing.assert_allclose(together - nothing, (a - nothing) + (b - nothing), rtol=1e-9, atol=1e-12)


def rate_matrix(model: PopulationModel, theta: Floats, time: float = 0.0) -> Floats:
    """(s, s) rate matrix."""
    matrix = np.zeros((len(model.states), len(model.states)))
    model.solver.kernels[0](time, theta, matrix)
    return matrix


def amounts(model: PopulationModel) -> list[int]:
    """Indices of the amounts of drug."""
    return [i for i, item in enumerate(model.states) if not item.startswith("AUC") and item not in NO_AMOUNTS]


@each_linear
def test_no_compartment_gives_more_than_it_holds(name: str) -> None:
    model = MODELS[name]
    for theta in people(model):
        for time in (0.0, *model.breaks):
            matrix, body = rate_matrix(model, theta, time), amounts(model)
            assert np.all(matrix - np.diag(np.diag(matrix)) >= 0) and np.all(np.diag(matrix) <= 0)
            inside = matrix[np.ix_(body, body)]
            assert np.all(inside.sum(axis=0) <= 1e-12 * np.abs(inside).max())
            # what only integrates gives nothing back
            rest = [i for i in range(len(matrix)) if i not in body]
            assert not matrix[np.ix_(body, rest)].any()


def with_loss(model: PopulationModel) -> PopulationModel:
    """The model with one more state that receives what leaves the body."""
    rates, s = njit(model.solver.kernels[0]), len(model.states)
    body = np.array([i in amounts(model) for i in range(s)])

    def augmented(t, theta, matrix):
        part = np.zeros((s, s))
        rates(t, theta, part)
        for j in range(s):
            for i in range(s):
                matrix[i, j] = part[i, j]
                if body[i]:
                    matrix[s, j] -= part[i, j]

    return replace(
        model,
        name=f"{model.name}_and_what_left_it",
        states=(*model.states, "lost"),
        initial=lambda theta: np.column_stack([model.initial(theta), np.zeros(len(theta))]),
        solver=Linear(augmented),
    )


def entered(model: PopulationModel, theta: Floats, doses: Sequence[Dose]) -> float:
    """Amount that reaches the body by the first route."""
    fraction = model.routes[0].fraction
    parts = fraction if isinstance(fraction, tuple) else (fraction,)
    share = np.prod([theta[model.column(part)] if isinstance(part, str) else part for part in parts])
    return float(share * sum(item.amount for item in doses))


@each_linear
def test_drug_given_is_in_the_body_or_eliminated(name: str) -> None:
    model, theta = MODELS[name], one(MODELS[name])
    whole, body = with_loss(model), amounts(MODELS[name])
    given = entered(model, theta, schedule(model))
    state, _ = states(whole, theta, schedule(model), float(samples(model)[-1]))
    assert state[body].sum() + state[-1] == pytest.approx(given, rel=1e-9)
    assert state[-1] > 1e-3 * given  # something was eliminated, so that the balance is no tautology
    # in the end all of it
    gone, _ = states(whole, theta, schedule(model), 2000 * CYCLE[model.time_unit])
    assert gone[-1] == pytest.approx(given, rel=1e-6)


# --------------------------------------------------------------------------------------------- steady state


def traces(model: PopulationModel) -> Floats:
    """Sizes (s,) of states 1e-6 of which is an error that does not count, by `Driven.scale`."""
    least = np.zeros(len(model.states))
    if isinstance(model.solver, Driven):
        least[model.solver.linear :] = model.solver.tolerance * np.array(model.solver.scale) / 1e-6
    return least


def moving(model: PopulationModel) -> list[int]:
    """States that can be steady: all but areas under curves."""
    return [i for i, item in enumerate(model.states) if not item.startswith("AUC")]


@each_steady
def test_steady_state_is_a_fixed_point(name: str) -> None:
    model, theta, every = MODELS[name], one(MODELS[name]), CYCLE[MODELS[name].time_unit]
    state = steady_state(model, theta, [dose(model, 0.0)], every)
    routes = [route.name for route in model.routes]
    events = schedule_events([[dose(model, 0.0)]], routes, np.array([every]), np.zeros(1), model.time_unit)
    after, nothing = state.copy(), np.zeros(0, dtype=np.int64)
    follow(model, after, theta[None, None], events, nothing, 1)
    keep = moving(model)
    agree(model, after[:, keep], state[:, keep], traces(model)[keep])


@each_steady
def test_steady_state_is_what_repeated_dosing_leads_to(name: str) -> None:
    model, theta, every = MODELS[name], one(MODELS[name]), CYCLE[MODELS[name].time_unit]
    state = steady_state(model, theta, [dose(model, 0.0)], every)[0]
    # cycles until what moves slowest has moved: 30 of its lifetimes for rates that are known
    cycles = CYCLES.get(name, 400)
    if isinstance(model.solver, Linear):
        slowest = np.abs(np.linalg.eigvals(rate_matrix(model, theta)).real)
        cycles = int(np.ceil(30.0 / slowest[slowest > 1e-12].min() / every))
    reached, _ = states(model, theta, [dose(model, float(i)) for i in range(cycles)], cycles * every)
    keep = moving(model)
    agree(model, reached[None, keep], state[None, keep], traces(model)[keep])


@pytest.mark.parametrize("name", sorted(NEVER_STEADY))
def test_what_only_accumulates_is_refused(name: str) -> None:
    model = MODELS[name]
    with pytest.raises(ValueError, match=f"{name}: patient 0 has no steady state: .* has no limit"):
        steady_state(model, one(model), [dose(model, 0.0)], CYCLE[model.time_unit])


def test_every_model_file_has_its_model() -> None:
    for info in pkgutil.iter_modules(models.__path__):
        module: Any = importlib.import_module(f"{models.__name__}.{info.name}")
        assert isinstance(module.MODEL, PopulationModel), info.name
