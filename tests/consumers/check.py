#!/usr/bin/env python3
"""Reads a finished output directory as its users will, and holds it against its own promises.

Usage: check.py OUTPUT_DIRECTORY

Three readers that share no code with the writer open the shards: DuckDB, pyarrow and Hugging Face datasets (offline).
Prints one line per check; exits 1 with a message on the first breach, 2 on wrong usage.

Not checked: whether verdicts are right, and whether a trainer's own template keeps the text.
"""

import glob
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

# Before `datasets` is imported: it reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import datasets  # noqa: E402
import duckdb  # noqa: E402
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
TABLES = ("samples", "rollouts", "exclusions")
VIEWS = (
    "samples", "rollouts", "exclusions", "queries", "pass_rates", "reasons", "lengths", "observed", "modes", "spend",
)
PAGE = Path(__file__).resolve().parents[2] / "src/guide/data.md"
SUFFIX = {"think_on": "on", "think_off": "off"}
TEMPLATE_TAGS = (
    "<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>",
)
# The bound that the Hub and its viewer put on what a row group unpacks to.
ROW_GROUP_BYTES_MAX = 100 * 1024 * 1024


class Breach(Exception):
    """A promise that the directory does not keep."""


def require(condition, message):
    if not condition:
        raise Breach(message)


def passed(message):
    print(f"ok: {message}", flush=True)


def table_files(out, table):
    found = sorted(glob.glob(str(out / "data" / table / "*.parquet")))
    require(found, f"data/{table} holds no Parquet file")
    return found


def check_manifest(out):
    """Returns the manifest after holding names, hashes, sizes and row counts against the files."""
    path = out / "manifest.json"
    require(path.is_file(), f"{path} does not exist")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    listed = {entry["name"]: entry for entry in manifest["files"]}
    require(len(listed) == len(manifest["files"]), "manifest.json lists a file twice")
    present = {str(Path(name).relative_to(out)) for table in TABLES for name in table_files(out, table)}
    require(present == set(listed), f"files on disk and in manifest.json differ: {sorted(present ^ set(listed))}")
    rows = Counter()
    for name, entry in listed.items():
        content = (out / name).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        require(found == entry["sha256"], f"{name}: SHA-256 is {found}, manifest.json says {entry['sha256']}")
        require(len(content) == entry["bytes"], f"{name}: {len(content)} bytes, manifest.json says {entry['bytes']}")
        count = pq.read_metadata(out / name).num_rows
        require(count == entry["rows"], f"{name}: {count} rows, manifest.json says {entry['rows']}")
        rows[name.split("/")[1]] += count
    counts = manifest["counts"]
    for table in TABLES:
        require(rows[table] == counts[table], f"{table}: {rows[table]} rows, manifest.json says {counts[table]}")
    total = counts["samples"] + counts["exclusions"]
    require(total == counts["queries"], f"samples + exclusions = {total}, but there are {counts['queries']} queries")
    passed(f"manifest: {len(listed)} files with their SHA-256, sizes and rows")
    passed(f"manifest: {counts['queries']} queries = {counts['samples']} samples + {counts['exclusions']} exclusions")
    return manifest


def expected_schema(table):
    return [(column["name"], column["type"]) for column in json.loads((SCHEMAS / f"{table}.json").read_text())]


def nullable_throughout(field):
    inner = [field.type.field(index) for index in range(field.type.num_fields)]
    return field.nullable and all(nullable_throughout(child) for child in inner)


def check_pyarrow(out):
    """Returns the tables after holding each file's schema and layout against what is documented."""
    tables = {}
    for table in TABLES:
        expected = expected_schema(table)
        parts = []
        for name in table_files(out, table):
            file = pq.ParquetFile(name)
            found = [(field.name, str(field.type)) for field in file.schema_arrow]
            require(found == expected, f"{name}: columns are {found}, schemas/{table}.json says {expected}")
            for field in file.schema_arrow:
                require(nullable_throughout(field), f"{name}: column {field.name} is not nullable throughout")
            check_layout(name, file.metadata)
            parts.append(file.read())
        tables[table] = pa.concat_tables(parts)
        passed(f"pyarrow: {table}: {len(parts)} files, {len(expected)} columns as in schemas/{table}.json, all nullable")
    passed("pyarrow: zstd, statistics, page index and row groups under 100 MB in every file")
    return tables


def check_layout(name, metadata):
    for group_index in range(metadata.num_row_groups):
        group = metadata.row_group(group_index)
        size = group.total_byte_size
        fits = size < ROW_GROUP_BYTES_MAX or group.num_rows == 1
        require(fits, f"{name}: row group {group_index} unpacks to {size} bytes")
        for column_index in range(group.num_columns):
            column = group.column(column_index)
            where = f"{name}: column {column.path_in_schema} of row group {group_index}"
            require(column.compression == "ZSTD", f"{where} is compressed with {column.compression}")
            require(column.has_offset_index and column.has_column_index, f"{where} has no page index")
            require(column.is_stats_set, f"{where} has no statistics")


def check_duckdb(out, manifest):
    before = Path.cwd()
    os.chdir(out)  # the views' paths are relative
    try:
        connection = duckdb.connect()
        statements = connection.extract_statements(Path("views.sql").read_text(encoding="utf-8"))
        for statement in statements:
            connection.execute(statement)
        rows = {view: connection.execute(f"SELECT * FROM {view}").fetchall() for view in VIEWS}
        query = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        made = {name for (name,) in connection.execute(query).fetchall()}
        require(made == set(VIEWS), f"views.sql makes {sorted(made)}, expected {sorted(VIEWS)}")
        sums = {
            "pass_rates": ("sampled", "rollouts"),
            "reasons": ("queries", "exclusions"),
            "lengths": ("responses", "rollouts"),
            "observed": ("responses", "rollouts"),
            "modes": ("samples", "samples"),
        }
        for view, (column, table) in sums.items():
            found = connection.execute(f"SELECT coalesce(sum({column}), 0) FROM {view}").fetchone()[0]
            expected = manifest["counts"][table]
            require(found == expected, f"view {view}: {column} add up to {found}, expected {expected}")
        check_questions(connection, manifest)
        reasons = dict(connection.execute("SELECT reason, queries FROM reasons").fetchall())
        expected = manifest["counts"]["exclusions_by_reason"]
        require(reasons == expected, f"view reasons gives {reasons}, manifest.json says {expected}")
    finally:
        os.chdir(before)
    for table in TABLES:
        found, expected = len(rows[table]), manifest["counts"][table]
        require(found == expected, f"DuckDB reads {found} rows of {table}, manifest.json says {expected}")
    passed(f"duckdb: {len(statements)} statements of views.sql, {len(VIEWS)} views, counts as in manifest.json")


def check_questions(connection, manifest):
    """Asks the questions of the guide's page on data, each of which is one line of SQL."""
    text = PAGE.read_text(encoding="utf-8").split("```sql\n")[1].split("```")[0]
    questions = text.splitlines()
    require(len(questions) == 10, f"{PAGE.name} has {len(questions)} questions")
    answers = {}
    for line in questions:
        sql, _, asked = line.partition(";  -- ")
        require(asked.endswith("?"), f"no question stands behind {sql!r}")
        answers[asked] = connection.execute(sql).fetchall()
        require(answers[asked] or "harm" in asked, f"nobody answers: {asked}")
    samples = sum(row[2] for row in answers["what came out?"])
    require(samples == manifest["counts"]["samples"], f"the first question counts {samples} samples")
    passed(f"duckdb: the guide's {len(questions)} questions")


def check_frames(out, manifest, tables):
    """Reads every table with pandas and polars, the latter lazily over the whole glob."""
    for table in TABLES:
        expected = manifest["counts"][table]
        frame = pd.concat([pd.read_parquet(name) for name in table_files(out, table)], ignore_index=True)
        require(len(frame) == expected, f"pandas reads {len(frame)} rows of {table}, expected {expected}")
        scanned = pl.scan_parquet(str(out / "data" / table / "*.parquet")).collect()
        require(scanned.height == expected, f"polars reads {scanned.height} rows of {table}, expected {expected}")
        names = tables[table].column_names
        require(list(frame.columns) == names and scanned.columns == names, f"columns of {table} differ")
        same = scanned["ordinal"].to_list() == tables[table]["ordinal"].to_pylist() == frame["ordinal"].tolist()
        require(same, f"pandas, polars and pyarrow read other ordinals of {table}")
    messages = pl.scan_parquet(str(out / "data/samples/*.parquet")).select("messages").collect()["messages"].to_list()
    require(messages == tables["samples"]["messages"].to_pylist(), "polars reads other messages")
    passed("pandas and polars: every table, nested messages included")


def check_provenance(out, manifest):
    """Holds what files say of themselves, and their bloom filters, against the manifest."""
    for entry in manifest["files"]:
        metadata = pq.read_metadata(out / entry["name"])
        said = {key.decode(): value.decode() for key, value in metadata.metadata.items()}
        expected = {
            "thinkloom.policy_model": manifest["policy"]["model"],
            "thinkloom.policy_revision": manifest["policy"]["revision"],
            "thinkloom.prompt_version": manifest["prompt_version"],
            "thinkloom.tables_version": str(manifest["tables_version"]),
        }
        for key, value in expected.items():
            require(said.get(key) == value, f"{entry['name']}: {key} is {said.get(key)!r}, expected {value!r}")
        require("content_defined_chunking" in said, f"{entry['name']} does not say how its pages are cut")
    connection = duckdb.connect()
    files = str(out / "data" / "rollouts" / "*.parquet")
    query = f"SELECT count(*) FROM parquet_metadata('{files}') WHERE path_in_schema = 'query_id' AND bloom_filter_offset IS NULL AND num_values > 0"
    missing = connection.execute(query).fetchone()[0]
    require(missing == 0, f"{missing} row groups have no bloom filter on query_id")
    passed("metadata: model, prompts in every file; bloom filters on query_id")


def check_datasets(out, manifest, tables):
    empty = []
    with tempfile.TemporaryDirectory() as cache:
        for table in TABLES:
            files = table_files(out, table)
            streamed = datasets.load_dataset("parquet", data_files={"train": files}, split="train", streaming=True)
            count = sum(1 for _ in streamed)
            require(count == manifest["counts"][table], f"datasets streams {count} rows of {table}")
            if count == 0:
                # `datasets` refuses to materialise any table without rows, whoever wrote it.
                empty.append(table)
                continue
            loaded = datasets.load_dataset("parquet", data_files={"train": files}, split="train", cache_dir=cache)
            compare_dataset(loaded, table, manifest, tables, "load_dataset(\"parquet\")")
            streamed = datasets.load_dataset(str(out), table, split="train", streaming=True)
            first = next(iter(streamed))
            expected = tables[table].slice(0, 1).to_pylist()[0]
            require(first == expected, f"datasets streams another first row of {table} by the card's config")
            loaded = datasets.load_dataset(str(out), table, split="train", cache_dir=cache)
            compare_dataset(loaded, table, manifest, tables, f"load_dataset(DIR, \"{table}\")")
        default = datasets.load_dataset_builder(str(out), cache_dir=cache).config.name
        require(default == "samples", f"the card's default config is {default}, not samples")
    skipped = f" (only streamed, for want of rows: {', '.join(empty)})" if empty else ""
    passed(f"datasets: every table by its files, by the card's configs and streamed{skipped}; default is samples")


def compare_dataset(loaded, table, manifest, tables, how):
    expected = manifest["counts"][table]
    require(len(loaded) == expected, f"datasets: {how} gives {len(loaded)} rows of {table}, expected {expected}")
    names = tables[table].column_names
    require(loaded.column_names == names, f"datasets: {how} gives columns {loaded.column_names}")
    if expected:
        first = tables[table].slice(0, 1).to_pylist()[0]
        require(loaded[0] == first, f"datasets: {how} reads another first row of {table} than pyarrow")


def check_ordinals(out, manifest, tables):
    seen = Counter(tables["samples"]["ordinal"].to_pylist() + tables["exclusions"]["ordinal"].to_pylist())
    twice = [ordinal for ordinal, count in seen.items() if count > 1]
    require(not twice, f"ordinals that have more than one outcome: {sorted(twice)[:5]}")
    for entry in manifest["files"]:
        ordinals = pq.read_table(out / entry["name"], columns=["ordinal"])["ordinal"].to_pylist()
        require(None not in ordinals, f"{entry['name']}: an ordinal is null")
        require(ordinals == sorted(ordinals), f"{entry['name']}: rows are not in the order of their ordinals")
        first, end = entry["first_ordinal"], entry["end_ordinal"]
        stray = [ordinal for ordinal in ordinals if not first <= ordinal < end]
        require(not stray, f"{entry['name']}: ordinals {stray[:5]} lie outside of {first}..{end}")
    passed(f"ordinals: {len(seen)} unique over samples and exclusions, sorted and in range in every file")


def holds_template_tags(rollout):
    texts = [rollout["thinking"] or "", rollout["answer"] or ""]
    return any(tag in text for tag in TEMPLATE_TAGS for text in texts)


def check_sample(sample, rollouts):
    """Holds one sample against the rollouts of its query, which are given by mode."""
    where = f"sample {sample['query_id']} (ordinal {sample['ordinal']})"
    mode = sample["mode"]
    require(mode in SUFFIX, f"{where}: mode is {mode!r}")
    check_completion(where, sample)
    for name, suffix in SUFFIX.items():
        sampled = len(rollouts[name])
        correct = sum(rollout["verdict"] == "correct" for rollout in rollouts[name])
        pairs = ((f"sampled_{suffix}", sampled), (f"correct_{suffix}", correct))
        for column, found in pairs:
            require(sample[column] == found, f"{where}: {column} is {sample[column]}, the rollouts say {found}")
        rate = correct / sampled if sampled else 0.0
        column = f"pass_rate_{suffix}"
        require(sample[column] == rate, f"{where}: {column} is {sample[column]!r}, the rollouts say {rate!r}")
    correct = [rollout for rollout in rollouts[mode] if rollout["verdict"] == "correct"]
    require(correct, f"{where}: no rollout of its mode is correct")
    lengths = [rollout["completion_tokens"] for rollout in correct]
    tokens = sample["completion_tokens"]
    require(tokens in lengths, f"{where}: completion_tokens {tokens} is that of no correct rollout of its mode")
    # Rollouts that cannot be rendered, or that show the other mode, are passed over however short they are.
    strict = not any(holds_template_tags(rollout) or rollout["observed_mode"] != mode for rollout in correct)
    if strict:
        require(tokens == min(lengths), f"{where}: completion_tokens is {tokens}, the shortest is {min(lengths)}")
    seeds = {rollout["seed"] for rollout in correct}
    require(sample["seed"] in seeds, f"{where}: its seed is that of no correct rollout of its mode")
    return strict


def rendered(sample):
    """Returns the structured response of a sample, written after the documented layout and not after the program."""
    think = f"<think>\n{sample['thinking']}\n</think>\n\n" if sample["mode"] == "think_on" else ""
    judge = f"<judge>\n{sample['justification'] or ''}\n</judge>"
    return f"{judge}\n\n<{sample['mode']}>\n{think}<answer>\n{sample['answer']}\n</answer>"


def check_completion(where, sample):
    mode, completion = sample["mode"], sample["completion"] or ""
    other = "think_off" if mode == "think_on" else "think_on"
    require(f"<{mode}>\n" in completion, f"{where}: its completion lacks the tag <{mode}>")
    require(f"<{other}>" not in completion, f"{where}: its completion holds the tag <{other}>")
    require(sample["answer"], f"{where}: its answer is empty")
    require(sample["answer"] in completion, f"{where}: its completion lacks the answer")
    if mode == "think_on":
        require(sample["thinking"] is not None, f"{where}: it is think_on and has no thinking")
        require(sample["thinking"] in completion, f"{where}: its completion lacks the thinking")
    else:
        require("<think>" not in completion, f"{where}: it is think_off and its completion holds a think block")
    expected = rendered(sample)
    require(completion == expected, f"{where}: its completion is {completion!r}, its parts render as {expected!r}")
    messages = sample["messages"]
    require(messages, f"{where}: it has no messages")
    whole = all(message and message["role"] and message["content"] is not None for message in messages)
    require(whole, f"{where}: a message lacks its role or content")


def check_evidence(tables):
    rollouts = defaultdict(lambda: {name: [] for name in SUFFIX})
    columns = ["ordinal", "mode", "seed", "verdict", "completion_tokens", "thinking", "answer", "observed_mode"]
    for rollout in tables["rollouts"].select(columns).to_pylist():
        require(rollout["mode"] in SUFFIX, f"rollout of ordinal {rollout['ordinal']}: mode is {rollout['mode']!r}")
        rollouts[rollout["ordinal"]][rollout["mode"]].append(rollout)
    strict = count = 0
    for batch in tables["samples"].to_batches(max_chunksize=1000):
        for sample in batch.to_pylist():
            strict += check_sample(sample, rollouts[sample["ordinal"]])
            count += 1
    passed(f"samples: {count} completions hold their mode tag, thinking, answer and justification")
    passed(f"samples: counts and pass rates of {count} agree with their rollouts")
    passed(f"samples: {strict} of {count} are the shortest correct response; the others had ineligible ones beside them")


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[0]).resolve()
    step = "manifest"
    try:
        manifest = check_manifest(out)
        step = "pyarrow"
        tables = check_pyarrow(out)
        step = "duckdb"
        check_duckdb(out, manifest)
        step = "metadata"
        check_provenance(out, manifest)
        step = "pandas and polars"
        check_frames(out, manifest, tables)
        step = "datasets"
        check_datasets(out, manifest, tables)
        step = "ordinals"
        check_ordinals(out, manifest, tables)
        step = "samples"
        check_evidence(tables)
    except Breach as breach:
        print(f"breach: {step}: {breach}", file=sys.stderr)
        return 1
    except Exception as error:  # a reader that gives up is a breach, too
        print(f"breach: {step}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
