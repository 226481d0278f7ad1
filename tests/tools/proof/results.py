"""What a seed leaves: facts of runs and evaluations for the log, and the files of OUT."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import plot
import table
import texts
import variants

SAMPLES_KEPT = 6
MODES = {"think_on": "on", "think_off": "off", "none": "none"}
COLUMNS = ("seed", "variant", "query_id", "source", "sample", "mode", "correct", "format_ok", "tokens")


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def keep_samples(work: Path, name: str, rows: list[dict]) -> None:
    """Keeps a few rows for people to read."""
    chosen = rows[::max(1, len(rows) // SAMPLES_KEPT)][:SAMPLES_KEPT]
    write_lines(work / "curves" / f"{name}-samples.jsonl", ({"of": name, **row} for row in chosen))


def of_run(directory: Path) -> dict:
    """The selection of a run, and the pass rates and tokens of both modes by source."""
    samples = variants.table(directory / "data" / "samples")
    cells: dict[tuple[str, str], list[tuple[bool, int, bool]]] = {}
    sources = {row["query_id"]: row["source"] for row in samples}
    shown = 0
    rollouts = variants.table(directory / "data" / "rollouts", variants.ROLLOUT_COLUMNS)
    for row in rollouts:
        shown += row["observed_mode"] == row["mode"]
        values = row["verdict"] == "correct", row["completion_tokens"], row["finish_reason"] == "stop"
        for source in ("all", sources.get(row["query_id"], "unsolved")):
            cells.setdefault((source, row["mode"]), []).append(values)
    rates = {f"{source} {MODES[mode]}": [round(float(value), 3) for value in np.mean(values, axis=0)]
             for (source, mode), values in sorted(cells.items())}
    exclusions = Counter(row["reason"] for row in variants.table(directory / "data" / "exclusions"))
    return {
        "samples": len(samples), "exclusions": dict(exclusions), "rollouts": len(rollouts), "mode_shown": round(shown / len(rollouts), 4),
        "think_on": round(float(np.mean([row["mode"] == "think_on" for row in samples])), 4),
        "reasons": dict(Counter(row["mode_reason"] for row in samples)), "difficulty": dict(Counter(row["difficulty"] for row in samples)),
        "justification_status": dict(Counter(row["justification_status"] for row in samples)),
        "structured": round(float(np.mean([texts.is_structured(row["completion"]) for row in samples])), 4),
        "correct_tokens_ended": rates,
    }


def of_evaluation(directory: Path) -> dict:
    """Accuracy, tokens, think rate and well-formed share of an evaluation, over all rows and by source."""
    rows = read_lines(directory / "rows.jsonl")
    by_source = {"all": rows}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)

    def means(part: list[dict]) -> list[float]:
        values = [(row["correct"], row["completion_tokens"], row["mode"] == "think_on", row["format_ok"]) for row in part]
        return [round(float(value), 4) for value in np.mean(values, axis=0)]

    return {"rows": len(rows), "accuracy_tokens_think_format": {source: means(part) for source, part in sorted(by_source.items())}}


def publish_rows(work: Path, out: Path, seed: int) -> None:
    """Writes the rows of all finished evaluations and the curves of all finished trainings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path in sorted((work / "evals").glob("*/rows.jsonl")):
        for row in read_lines(path):
            writer.writerow((seed, path.parent.name, row["query_id"], row["source"], row["sample_index"], MODES[row["mode"]],
                             int(row["correct"]), int(row["format_ok"]), row["completion_tokens"]))
    write_compressed(out / "rows.csv.gz", text.getvalue())
    curves = sorted(path for path in (work / "curves").glob("*.jsonl") if not path.name.endswith("-samples.jsonl"))
    lines = ({"seed": seed, **line} for path in curves for line in read_lines(path))
    write_compressed(out / "curves.jsonl.gz", "".join(json.dumps(line) + "\n" for line in lines))


def publish_texts(work: Path, out: Path) -> None:
    """Writes the samples, and what thinkloom printed."""
    write_lines(out / "samples.jsonl", (line for path in sorted((work / "curves").glob("*-samples.jsonl")) for line in read_lines(path)))
    printed = ((path.stem, path.read_text(encoding="utf-8", errors="replace")) for path in sorted((work / "logs").glob("*.txt")))
    (out / "thinkloom.txt").write_text("".join(f"=== {name}\n{text}\n" for name, text in printed), encoding="utf-8")


def publish_tables(out: Path) -> None:
    """Writes tables and figure, which are made from the rows and curves alone."""
    (out / "tables.md").write_text(table.report([out]), encoding="utf-8")
    (out / "curves.svg").write_text(plot.figure([out]), encoding="utf-8")


def write_compressed(path: Path, text: str) -> None:
    """The same text gives the same bytes."""
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
