"""Two regimens scored from the same log: the difference, patient by patient."""

from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.statistics import Difference, student_half_width


def compare(policy: Estimate, baseline: Estimate, level: float = 0.95) -> Difference:
    """Difference of two off-policy estimates, `policy` minus `baseline`, with its interval.

    Both weigh the same patients, so the standard error is that of the per-patient differences of their
    influences, ``sqrt(sum_i (IF_i - IF'_i)^2) / n``. Student's t with the degrees of freedom of the estimate
    with the smaller effective sample.

    Raises
    ------
    ValueError
        For estimates of different outcomes or numbers of patients: they are not from one log.
    """
    for name, a, b in (
        ("outcome", policy.outcome, baseline.outcome),
        ("number of patients", len(policy.influence), len(baseline.influence)),
    ):
        if a != b:
            raise ValueError(
                f"{name} {a!r} of the policy and {b!r} of the baseline; expected two estimates from one log"
            )
    n, mean = len(policy.influence), policy.value - baseline.value
    standard_error = float(((policy.influence - baseline.influence) ** 2).sum() ** 0.5 / n)
    df = min(policy.degrees_of_freedom, baseline.degrees_of_freedom)
    half_width = student_half_width(standard_error, df, level)
    return Difference(mean, mean - half_width, mean + half_width, standard_error, n, level, df)
