"""One table for the field's question: does learning dose better than Bayesian monitoring, for which drugs, at
what risk, and does it survive a model it was not trained on?"""

from dosewright.evaluation.leaderboard.board import board
from dosewright.evaluation.leaderboard.cell import Cell, cell_record

__all__ = ["Cell", "board", "cell_record"]
