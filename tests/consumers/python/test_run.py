"""The tables of a run in every library that takes Arrow data, and the command of the wheel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thinkloom

TABLES = ("samples", "rollouts", "exclusions")


@pytest.mark.parametrize("name", TABLES)
def test_every_library_reads_the_same(demo: Path, name: str) -> None:
    expected = pq.read_table(demo / "data" / name)
    run = thinkloom.Run(demo)
    table = getattr(run, name)
    assert len(table) == table.num_rows == expected.num_rows and table.column_names == expected.column_names
    read = pa.table(table)
    assert read.equals(expected) and read.schema.equals(expected.schema)
    assert pa.schema(table) == expected.schema
    assert pl.DataFrame(table).equals(pl.from_arrow(expected))
    pd.testing.assert_frame_equal(pa.table(table).to_pandas(), expected.to_pandas())
    if hasattr(pd.DataFrame, "from_arrow"):
        pd.testing.assert_frame_equal(pd.DataFrame.from_arrow(table), expected.to_pandas())
    assert datasets.Dataset(pa.table(table)).to_list() == expected.to_pylist()
    assert duckdb.sql("select count(*) from read").fetchall() == [(expected.num_rows,)]
    assert sum(batch.num_rows for batch in pa.RecordBatchReader.from_stream(table)) == expected.num_rows


def test_some_columns(demo: Path) -> None:
    table = thinkloom.Run(demo).rollouts.select(["verdict", "query_id"])
    assert table.column_names == ["verdict", "query_id"]
    assert pa.table(table).equals(pq.read_table(demo / "data/rollouts", columns=["query_id", "verdict"]).select(["verdict", "query_id"]))
    with pytest.raises(KeyError, match="verdicts"):
        table.select(["verdicts"])
    with pytest.raises(TypeError, match="columns is str"):
        table.select("verdict")


def test_queries(demo: Path) -> None:
    run = thinkloom.Run(str(demo))
    queries = pa.table(run.queries)
    assert queries.num_rows == len(run.queries)
    ids = set(queries["query_id"].to_pylist())
    assert set(pa.table(run.samples)["query_id"].to_pylist()) <= ids
    assert set(pa.table(run.rollouts)["query_id"].to_pylist()) <= ids
    golds = dict(zip(queries["query_id"].to_pylist(), queries["gold"].to_pylist()))
    assert all(golds[row["query_id"]] == row["gold"] for row in pa.table(run.samples).to_pylist())
    assert pa.table(run.queries.select(["kind", "query_id"])).num_rows == queries.num_rows
    assert pl.DataFrame(run.queries)["choices"].dtype == pl.List(pl.String)


def test_rollouts_can_be_rewarded(demo: Path, command: Callable[..., str]) -> None:
    expected = [json.loads(line) for line in command("reward", "--rollouts", str(demo)).splitlines()]
    found = thinkloom.reward(thinkloom.Run(demo).rollouts)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected):
        assert all(ours[name] == theirs[name] for name in ("reward", "advantage_judge", "advantage_answer"))


def test_status(demo: Path, command: Callable[..., str]) -> None:
    run = thinkloom.Run(demo)
    assert run.status() == json.loads(command("status", "--json", str(demo)))
    assert all(finding["holds"] for finding in run.status(check=True)["check"])


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no run"):
        thinkloom.Run(tmp_path)
    with pytest.raises(FileNotFoundError):
        thinkloom.Run(tmp_path / "missing")
    with pytest.raises(TypeError):
        thinkloom.Run(5)  # type: ignore[arg-type]


def test_a_damaged_file_is_named(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes((demo / "ledger.sqlite").read_bytes())
    (tmp_path / "data/samples").mkdir(parents=True)
    (tmp_path / "data/samples/train-00000.parquet").write_bytes(b"PAR1 no more")
    run = thinkloom.Run(tmp_path)
    with pytest.raises(thinkloom.ThinkloomError, match="train-00000.parquet"):
        _ = run.samples
    assert len(run.rollouts) == 0 and pa.table(run.rollouts).num_rows == 0
    whole = sorted((demo / "data/samples").glob("*.parquet"))[0].read_bytes()
    (tmp_path / "data/samples/train-00000.parquet").write_bytes(whole)
    other = pq.read_table(demo / "data/exclusions")
    pq.write_table(other, tmp_path / "data/samples/train-00001.parquet")
    with pytest.raises(Exception, match="train-00001.parquet has other columns"):
        pa.table(run.samples)


def test_the_command(command: Callable[..., str]) -> None:
    assert command("--version").split()[1] == thinkloom.__version__
    command("run", "--no-such-option", expected=2)
