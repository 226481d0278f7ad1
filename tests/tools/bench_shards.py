"""Compares the shard writer with pyarrow: 100,000 responses, the same table, the same settings, in one run.

Usage: bench_shards.py SHARDS_BENCH [ROUNDS]

Both start from rows in memory (structs for thinkloom, dicts for pyarrow) and end with the bytes of one file: zstd 3, row
groups of 4,096 rows, page index, statistics, content-defined chunking, a bloom filter if pyarrow supports it. pyarrow is
also measured from a finished table, without the conversion of rows to columns. One thread each; rounds alternate; medians.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SETTINGS = {
    "compression": "zstd",
    "compression_level": 3,
    "row_group_size": 4096,
    "version": "1.0",
    "write_page_index": True,
    "write_statistics": True,
    "store_schema": False,
    "use_content_defined_chunking": {"min_chunk_size": 262144, "max_chunk_size": 1048576, "norm_level": 0},
}


def write(table):
    buffer = io.BytesIO()
    started = time.perf_counter()
    pq.write_table(table, buffer, **SETTINGS)
    return time.perf_counter() - started, buffer.tell()


def main(bench, rounds="5"):
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        name = str(Path(folder) / "rows.parquet")
        ours, theirs, columns = [], [], []
        size = other = 0
        rows = table = None
        for _ in range(int(rounds)):
            line = subprocess.run([bench, name, "1"], capture_output=True, text=True, check=True).stdout
            found = json.loads(line)
            ours.append(found["seconds"])
            size = found["bytes"]
            if rows is None:
                table = pq.read_table(name)
                rows = table.to_pylist()
            seconds, other = write(table)
            columns.append(seconds)
            started = time.perf_counter()
            built = pa.Table.from_pylist(rows, schema=table.schema)
            theirs.append(time.perf_counter() - started + write(built)[0])
        text = table.nbytes / 1e6
        for what, times, held in (
            ("thinkloom, from rows", ours, size),
            ("pyarrow, from rows (dicts)", theirs, other),
            ("pyarrow, from a table", columns, other),
        ):
            seconds = statistics.median(times)
            print(f"{what:28} {text / seconds:7.1f} MB/s  {seconds:6.2f} s  ({min(times):.2f} to {max(times):.2f})  {held / 1e6:6.1f} MB")
        print(f"{table.num_rows} rows, {text:.0f} MB as Arrow buffers; size {size / other:.3f} of pyarrow's")


if __name__ == "__main__":
    main(*sys.argv[1:])
