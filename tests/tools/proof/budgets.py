"""What a smaller budget saves on the run of the proof, and how far the difficulty agrees with the levels of queries."""

from pathlib import Path

import numpy as np

import tasks
import variants

BUDGETS = ("full", "curtailed", "frugal")
# What a sample is, apart from the counts, which a smaller budget changes by design.
KEPT = ("mode", "thinking", "answer")


def tokens_of(directory: Path) -> int:
    """The tokens of all responses of a run."""
    rollouts = variants.table(directory / "data" / "rollouts", ["completion_tokens"])
    return sum(row["completion_tokens"] for row in rollouts)


def samples_of(directory: Path) -> dict[str, tuple]:
    """The samples of a run by query."""
    rows = variants.table(directory / "data" / "samples")
    return {row["query_id"]: tuple(row[name] for name in KEPT) for row in rows}


def saving(directory: Path, run: Path) -> dict:
    """The tokens of a run with some budget, and how many of its samples are those of the full run.

    On a GPU a second full run may differ in a few responses, too: its numbers are beside those of the smaller budgets.
    """
    own, full = samples_of(directory), samples_of(run)
    same = sum(full.get(query) == sample for query, sample in own.items())
    tokens = tokens_of(directory)
    return {"tokens": tokens, "share": round(tokens / tokens_of(run), 4), "samples": len(own), "same": same}


def ranks(values: list[float]) -> np.ndarray:
    """Ranks; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[place]


def rank_correlation(run: Path) -> float | None:
    """Spearman's correlation of difficulty score and level over the generated queries; None without several levels."""
    samples = variants.table(run / "data" / "samples")
    rows = [(row["difficulty_score"], tasks.cell_of(row["query_id"])) for row in samples]
    pairs = [(score, int(level.split()[1])) for score, (family, level) in rows if family != "svamp"]
    scores, levels = (ranks(list(column)) for column in zip(*pairs))
    if levels.std() == 0 or scores.std() == 0:
        return None
    return round(float(np.corrcoef(scores, levels)[0, 1]), 4)
