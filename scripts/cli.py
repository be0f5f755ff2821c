"""``dosewright``: the command line.

Start-up must stay quick, so no command file imports more than click at its top.
"""

from __future__ import annotations

import sys

import click

from dosewright import __version__
from dosewright.scripts.demo import demo
from dosewright.scripts.dose import dose
from dosewright.scripts.evaluate import evaluate
from dosewright.scripts.explain import explain
from dosewright.scripts.export import export
from dosewright.scripts.federate import federate
from dosewright.scripts.leaderboard import leaderboard
from dosewright.scripts.log import log
from dosewright.scripts.pgx import pgx
from dosewright.scripts.refine import refine
from dosewright.scripts.refine_demo import refine_demo
from dosewright.scripts.registry import registry
from dosewright.scripts.replicate import replicate
from dosewright.scripts.scenarios import scenarios
from dosewright.scripts.serve import serve
from dosewright.scripts.simulate import simulate
from dosewright.scripts.stream import stream
from dosewright.scripts.train import train
from dosewright.scripts.trial import trial
from dosewright.scripts.tune import tune


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dosewright")
def cli() -> None:
    """Learn how to dose a patient, and prove it before anyone is dosed.

    Research simulation, not for clinical use.
    """


for _command in (
    demo, dose, evaluate, explain, export, federate, leaderboard, log, pgx, refine, refine_demo, registry,
    replicate, scenarios, serve, simulate, stream, train, trial, tune,
):  # fmt: skip
    cli.add_command(_command)


def run(command: click.Command) -> None:
    """Run a command; wrong input ends with one line and exit code 2, Ctrl-C with exit code 130."""
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "dosewright"
        message = " ".join(error.format_message().split())
        print(f"dosewright: {message.rstrip('.')}; see {path} --help", file=sys.stderr)
        sys.exit(2)
    except (ValueError, click.ClickException) as error:
        print(f"dosewright: {error}", *getattr(error, "__notes__", ()), sep="\n  ", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"dosewright: cannot use{where}: {error.strerror}; choose another path", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as stop:
        # click hands Ctrl-C on as an Abort; what the command had to say is its cause
        said = str(stop.__cause__ or stop) or "stopped"
        print(f"dosewright: {said}", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    """Entry point of the console command."""
    run(cli)


if __name__ == "__main__":
    main()
