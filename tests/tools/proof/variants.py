"""The rows that each variant is trained on.

Rows of thinkloom's exports (`exported`): the rule's selection, a random mode, other margins. Rows that no command of
thinkloom makes come from the tables of a run (`Run`): Think-on only, which is the comparison, and data that is wrong on
purpose, the ablations.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.parquet as parquet

import judge
import texts

Pair = tuple[str, str]
# The columns that are needed; prompts and raw texts are large.
ROLLOUT_COLUMNS = [
    "query_id", "mode", "observed_mode", "sample_index", "verdict", "thinking", "answer", "finish_reason",
    "completion_tokens"
]
OTHER = {"think_on": "think_off", "think_off": "think_on"}


def table(directory: Path, columns: list[str] | None = None) -> list[dict]:
    """The rows of all Parquet files of a directory, in order; all columns, or the given ones."""
    files = sorted(directory.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{directory} has no Parquet files")
    return [row for file in files for row in parquet.read_table(file, columns=columns).to_pylist()]


def exported(directory: Path) -> list[Pair]:
    """Prompts and completions of an export for TRL in the layout `text`."""
    return [(row["prompt"], row["completion"]) for row in table(directory / "sft")]


@dataclass(frozen=True)
class Sample:
    """A query's place in the training data: its mode and response; `response` is a row of the table of rollouts."""

    question: str
    kind: str
    mode: str
    response: dict
    justification: str

    def pair(self) -> Pair:
        completion = texts.structured(self.justification, self.mode, self.response["thinking"], self.response["answer"])
        return texts.prompt(self.question, self.kind, None), completion + texts.END


class Run:
    """The tables of a run: its samples, and the correct responses of each query and mode, shortest first."""

    def __init__(self, directory: Path) -> None:
        self.rows = table(directory / "data" / "samples")
        self.correct: dict[tuple[str, str], list[dict]] = {}
        for rollout in table(directory / "data" / "rollouts", ROLLOUT_COLUMNS):
            if rollout["verdict"] == "correct" and rollout["observed_mode"] == rollout["mode"]:
                self.correct.setdefault((rollout["query_id"], rollout["mode"]), []).append(rollout)
        for responses in self.correct.values():
            responses.sort(key=lambda rollout: (rollout["completion_tokens"], rollout["sample_index"]))

    def sample(self, row: dict, mode: str, which: int = 0) -> Sample | None:
        """A query in a given mode with one of its correct responses, or None; the justification is of that mode."""
        responses = self.correct.get((row["query_id"], mode))
        if not responses:
            return None
        text = row["justification"]
        if mode != row["mode"] or not text:
            text = texts.justify(row["question"], mode, judge.first_variant(row["question"]))
        return Sample(row["question"], row["kind"], mode, responses[which], text)

    def selected(self, which: int = 0) -> list[Sample]:
        """The rule's own selection."""
        return [sample for row in self.rows if (sample := self.sample(row, row["mode"], which))]


def think_on_only(run: Run, _: random.Random) -> Iterator[Sample | None]:
    """Every query with a correct Think-on response gets the shortest one: the comparison of HiPO's paper."""
    return (run.sample(row, "think_on") for row in run.rows)


def shuffled_modes(run: Run, rng: random.Random) -> Iterator[Sample | None]:
    """The selection's modes in another order of the queries; the other mode where one has no correct response."""
    modes = [row["mode"] for row in run.rows]
    rng.shuffle(modes)
    return (run.sample(row, mode) or run.sample(row, OTHER[mode]) for row, mode in zip(run.rows, modes))


def inverted_modes(run: Run, _: random.Random) -> Iterator[Sample | None]:
    """The mode that the rule did not choose, where that has a correct response."""
    return (run.sample(row, OTHER[row["mode"]]) or run.sample(row, row["mode"]) for row in run.rows)


def longest(run: Run, _: random.Random) -> list[Sample]:
    """The rule's modes with the longest correct response."""
    return run.selected(which=-1)


def no_justifications(run: Run, _: random.Random) -> Iterator[Sample]:
    """The rule's selection with empty judge blocks."""
    return (Sample(one.question, one.kind, one.mode, one.response, "") for one in run.selected())


def shuffled_justifications(run: Run, rng: random.Random) -> Iterator[Sample]:
    """The rule's selection; each judge block argues for its mode, but about another question."""
    samples = run.selected()
    of_mode = {mode: [one.justification for one in samples if one.mode == mode] for mode in texts.MODES}
    for justifications in of_mode.values():
        rng.shuffle(justifications)
    return (Sample(one.question, one.kind, one.mode, one.response, of_mode[one.mode].pop()) for one in samples)


MADE: dict[str, Callable[[Run, random.Random], Iterator[Sample | None] | list[Sample]]] = {
    "on": think_on_only, "shuffled": shuffled_modes, "inverted": inverted_modes, "longest": longest,
    "bare": no_justifications, "alien": shuffled_justifications}


@cache
def run_of(directory: Path) -> Run:
    """The tables of a finished run, read once."""
    return Run(directory)


def made(name: str, run: Path, seed: int) -> list[Pair]:
    """The rows of a variant that is made from the tables of a run."""
    return [sample.pair() for sample in MADE[name](run_of(run), random.Random(seed)) if sample]
