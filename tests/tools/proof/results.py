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
import tasks
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
    """The selection of a run; of both modes the share of correct responses, the tokens, and the share that ended."""
    samples = variants.table(directory / "data" / "samples")
    rollouts = variants.table(directory / "data" / "rollouts", variants.ROLLOUT_COLUMNS)
    cells: dict[str, list[tuple[bool, int, bool]]] = {}
    for row in rollouts:
        values = row["verdict"] == "correct", row["completion_tokens"], row["finish_reason"] == "stop"
        for part in ("all", *tasks.cell_of(row["query_id"])):
            cells.setdefault(f"{part} {MODES[row['mode']]}", []).append(values)
    exclusions = Counter(row["reason"] for row in variants.table(directory / "data" / "exclusions"))
    shares = {"mode_shown": [row["observed_mode"] == row["mode"] for row in rollouts],
              "think_on": [row["mode"] == "think_on" for row in samples],
              "structured": [texts.is_structured(row["completion"]) for row in samples]}
    counts = {
        name: dict(Counter(row[name] for row in samples))
        for name in ("mode_reason", "difficulty", "justification_status")
    }
    rates = {
        part: [round(float(value), 3) for value in np.mean(values, axis=0)]
        for part, values in sorted(cells.items())
    }
    rounded = {name: round(float(np.mean(values)), 4) for name, values in shares.items() if values}
    return {"samples": len(samples), "exclusions": dict(exclusions), "rollouts": len(rollouts), **counts, **rounded,
            "correct_tokens_ended": rates}


def of_evaluation(directory: Path) -> dict:
    """Accuracy, tokens, think rate and well-formed share of an evaluation, over all rows and by source."""
    rows = read_lines(directory / "rows.jsonl")
    by_source = {"all": rows}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)

    def means(part: list[dict]) -> list[float]:
        values = [(row["correct"], row["completion_tokens"], row["mode"] == "think_on", row["format_ok"])
                  for row in part]
        return [round(float(value), 4) for value in np.mean(values, axis=0)]

    found = {source: means(part) for source, part in sorted(by_source.items())}
    return {"rows": len(rows), "accuracy_tokens_think_format": found}


def publish_rows(work: Path, out: Path, seed: int) -> None:
    """Writes the rows of all finished evaluations and the curves of all finished trainings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path in sorted((work / "evals").glob("*/rows.jsonl")):
        for row in read_lines(path):
            writer.writerow(
                (seed, path.parent.name, row["query_id"], row["source"], row["sample_index"], MODES[row["mode"]],
                 int(row["correct"]), int(row["format_ok"]), row["completion_tokens"]))
    write_compressed(out / "rows.csv.gz", text.getvalue())
    curves = sorted(path for path in (work / "curves").glob("*.jsonl") if not path.name.endswith("-samples.jsonl"))
    lines = ({"seed": seed, **line} for path in curves for line in read_lines(path))
    write_compressed(out / "curves.jsonl.gz", "".join(json.dumps(line) + "\n" for line in lines))


def publish_texts(work: Path, out: Path) -> None:
    """Writes the samples, and what thinkloom printed."""
    samples = sorted((work / "curves").glob("*-samples.jsonl"))
    write_lines(out / "samples.jsonl", (line for path in samples for line in read_lines(path)))
    logs = sorted((work / "logs").glob("*.txt"))
    printed = "".join(f"=== {path.stem}\n{path.read_text(encoding='utf-8', errors='replace')}\n" for path in logs)
    (out / "thinkloom.txt").write_text(printed, encoding="utf-8")


def publish_tables(out: Path) -> None:
    """Writes tables and figure, which are made from the rows and curves alone."""
    (out / "tables.md").write_text(table.report([out]), encoding="utf-8")
    (out / "curves.svg").write_text(plot.figure([out]), encoding="utf-8")


def write_compressed(path: Path, text: str) -> None:
    """The same text gives the same bytes."""
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
