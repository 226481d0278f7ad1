"""Tables of one or several seeds.

Usage: table.py OUT [OUT ...] [-o tables.md]     each OUT is the output directory of a seed

Accuracy is pass@1, tokens the mean length of whole responses, think the share of Think-on responses. Changes are
differences in percentage points for accuracy, and relative changes for tokens and think rate, each with a 95 % interval
of a paired bootstrap: seeds and queries are drawn with replacement, the same for both sides. With one seed only queries
are drawn.
"""

import argparse
import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from settings import VARIANTS

# Of the new and the old means.
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
BASELINES = ("on", "cold+grpo")
ROUNDS = 2000
# Metrics of a query: means over its responses, where those of a mode count the other responses as 0.
CORRECT, TOKENS, THINK, FORMAT, NO_MODE, OFF, ON_CORRECT, ON_TOKENS, OFF_CORRECT, OFF_TOKENS = range(10)
METRICS = 10


@dataclass(frozen=True)
class Results:
    """`values` [seeds][variant] are arrays [queries, metrics], in the order of `queries`; `sources` are theirs."""

    seeds: list[str]
    queries: list[str]
    sources: np.ndarray
    values: list[dict[str, np.ndarray]]

    def variants(self) -> list[str]:
        """The variants of any seed, in the order of the settings; others behind them."""
        found = {name for values in self.values for name in values}
        return [name for name in VARIANTS if name in found] + sorted(found - set(VARIANTS))


def read(directories: list[Path]) -> Results:
    """Reads `rows.csv.gz` of each directory; all seeds have the same queries."""
    sums: dict[tuple[str, str, str], list[np.ndarray]] = {}
    sources: dict[str, str] = {}
    for directory in directories:
        text = gzip.decompress((directory / "rows.csv.gz").read_bytes()).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        again = {row["seed"] for row in rows} & {seed for seed, _, _ in sums}
        if again:
            raise ValueError(f"{directory} has rows of the seed {', '.join(again)}, as another directory has")
        for row in rows:
            sources[row["query_id"]] = row["source"]
            sums.setdefault((row["seed"], row["variant"], row["query_id"]), []).append(metrics(row))
    queries = sorted(sources)
    seeds = sorted({seed for seed, _, _ in sums}, key=int)
    values = []
    for seed in seeds:
        names = sorted({variant for other, variant, _ in sums if other == seed})
        values.append({name: np.array([means_of(sums, seed, name, query) for query in queries]) for name in names})
    return Results(seeds, queries, np.array([sources[query] for query in queries]), values)


def metrics(row: dict[str, str]) -> np.ndarray:
    """The metrics of one response."""
    correct, tokens, is_on, is_off = int(row["correct"]), int(row["tokens"]), row["mode"] == "on", row["mode"] == "off"
    values = (correct, tokens, is_on, int(row["format_ok"]), row["mode"] == "none", is_off,
              is_on * correct, is_on * tokens, is_off * correct, is_off * tokens)
    return np.array(values, float)


def means_of(sums: dict[tuple[str, str, str], list[np.ndarray]], seed: str, variant: str, query: str) -> np.ndarray:
    rows = sums.get((seed, variant, query))
    if rows is None:
        raise ValueError(f"seed {seed}, variant {variant}: the query {query} has no rows")
    return np.mean(rows, axis=0)


@cache
def draws(seeds: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """The resamples of every comparison: weights of the queries [rounds, queries], and seeds [rounds, seeds]."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, queries, (ROUNDS, queries))
    weights = np.stack([np.bincount(row, minlength=queries) for row in drawn]) / queries
    return weights, rng.integers(0, seeds, (ROUNDS, seeds))


def interval(new: np.ndarray, old: np.ndarray, statistic: Statistic) -> tuple[float, float, float]:
    """A statistic of two means with its interval; new, old: [seeds, queries] of one metric, paired."""
    weights, seeds = draws(*new.shape)
    means = [np.take_along_axis(weights @ side.T, seeds, axis=1).mean(1) for side in (new, old)]
    low, high = np.percentile(statistic(*means), [2.5, 97.5])
    return float(statistic(new.mean(), old.mean())), float(low), float(high)


def points(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return 100 * (new - old)


def percent(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Not a number where the old mean is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(old) > 0, 100 * (np.divide(new, old) - 1), np.nan)


def shown(found: tuple[float, float, float]) -> str:
    middle, low, high = found
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]" if np.isfinite(found).all() else "none"


def stacked(results: Results, variant: str, with_: str, is_part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [seeds, queries, metrics] of a variant and a baseline, over the seeds that have both."""
    both = [values for values in results.values if variant in values and with_ in values]
    empty = np.zeros((0, int(is_part.sum()), METRICS))
    return tuple(np.array([values[name][is_part] for values in both]) if both else empty for name in (variant, with_))


def headline(results: Results, baseline: str, is_part: np.ndarray) -> list[str]:
    """One line for each variant: its means over its seeds, and its changes against the baseline."""
    lines = [f"| variant | seeds | accuracy | tokens | think | format | no mode | accuracy vs {baseline}, points "
             "| tokens, % | think, % |", "|---" * 10 + "|"]
    for variant in results.variants():
        own = np.array([values[variant][is_part] for values in results.values if variant in values])
        mean = own.mean((0, 1))
        shown_metrics = ((CORRECT, ".3f"), (TOKENS, ".1f"), (THINK, ".3f"), (FORMAT, ".3f"), (NO_MODE, ".3f"))
        cells = [variant, str(len(own)), *(format(mean[metric], form) for metric, form in shown_metrics)]
        new, old = stacked(results, variant, baseline, is_part)
        if variant == baseline or not len(new):
            cells += ["", "", ""]
        else:
            cells += [shown(interval(new[..., metric], old[..., metric], statistic))
                      for metric, statistic in ((CORRECT, points), (TOKENS, percent), (THINK, percent))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_source(results: Results, metric: int, form: str) -> list[str]:
    """One line for each variant, one column for each source."""
    sources = sorted(set(results.sources))
    lines = [f"| variant | {' | '.join(sources)} |", "|---" * (len(sources) + 1) + "|"]
    for variant in results.variants():
        own = np.mean([values[variant] for values in results.values if variant in values], axis=0)
        cells = [format(own[results.sources == source, metric].mean(), form) for source in sources]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def by_mode(results: Results) -> list[str]:
    """One line for each variant: accuracy and tokens of the responses of each mode."""
    lines = ["| variant | Think-on accuracy | tokens | Think-off accuracy | tokens |", "|---" * 5 + "|"]
    for variant in results.variants():
        mean = np.mean([values[variant].mean(0) for values in results.values if variant in values], axis=0)
        shares = ((ON_CORRECT, THINK, ".3f"), (ON_TOKENS, THINK, ".1f"),
                  (OFF_CORRECT, OFF, ".3f"), (OFF_TOKENS, OFF, ".1f"))
        cells = [format(mean[part] / mean[share], form) if mean[share] > 0 else "none" for part, share, form in shares]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def by_seed(results: Results) -> list[str]:
    """One line for each seed and variant, so that no mean hides a seed."""
    lines = ["| seed | variant | accuracy | tokens | think |", "|---" * 5 + "|"]
    for seed, values in zip(results.seeds, results.values):
        for variant in (name for name in results.variants() if name in values):
            mean = values[variant].mean(0)
            lines.append(f"| {seed} | {variant} | {mean[CORRECT]:.3f} | {mean[TOKENS]:.1f} | {mean[THINK]:.3f} |")
    return lines


def report(directories: list[Path]) -> str:
    """All tables, as Markdown."""
    results = read(directories)
    everywhere = np.ones(len(results.queries), bool)
    parts = [f"{len(results.queries)} held-out queries, seeds {', '.join(results.seeds)}"]
    for baseline in BASELINES:
        if baseline in results.variants():
            parts += [f"\n## All queries, against {baseline}\n", *headline(results, baseline, everywhere)]
    is_svamp = results.sources == "svamp"
    if is_svamp.any() and "on" in results.variants():
        parts += ["\n## Synthetic queries, against on\n", *headline(results, "on", ~is_svamp)]
        parts += ["\n## SVAMP, against on\n", *headline(results, "on", is_svamp)]
    for name, metric, form in (("Accuracy", CORRECT, ".3f"), ("Tokens", TOKENS, ".1f"), ("Think rate", THINK, ".3f")):
        parts += [f"\n## {name} by source\n", *by_source(results, metric, form)]
    parts += ["\n## By the mode that a response shows\n", *by_mode(results)]
    parts += ["\n## By seed\n", *by_seed(results)]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="OUT")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    text = report(given.directories)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
