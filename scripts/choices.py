"""What more than one command lets the user choose from."""

import click

# as `dosewright.envs.scenarios.scenario.GENOTYPE_MODES`, which the help of a command must not wait for
GENOTYPE = click.Choice(["diplotype", "phenotype", "posterior", "unknown"])
