"""Runs each fuzz target for a fixed time, one target per processor at once, each on its own corpus, which is kept.

    python3 fuzz.py --binaries DIR --work DIR --words FILE --seconds 60 TARGET ...

A target's corpus begins with the seeds below and grows in WORK/corpus/TARGET from run to run. Inputs that crash, take
more than 25 seconds or more than 2 GB are written to WORK/TARGET-*. Prints runs, corpus and findings per target; exits
with 1 if there are findings.

With --fresh the corpus begins with the seeds alone, is not kept, and each target ends after RUNS at the latest. The inputs
are then much alike from run to run, though not the same: addresses and hash seeds differ.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

# What two cores run within a minute from the seeds alone.
RUNS = {
    "extractor": 15_000,
    "latex": 60_000,
    "code_blocks": 300_000,
    "schema": 10_000,
    "streams": 500_000,
    "gguf": 60_000,
    "safetensors": 45_000,
    "config_json": 48_000,
    "tokenizer_json": 20_000,
    "chat_template": 2_000_000,
    "ingest": 20_000,
}

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"

SCHEMAS = [
    '{"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"type":"integer"}},"required":["a"]}',
    '{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"$ref":"#/$defs/a"}',
    '{"$defs":{"n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}}}},"$ref":"#/$defs/n"}',
    '{"type":"array","items":{"enum":["a","ab",1,null,true]},"minItems":1,"maxItems":3}',
]
STREAMS = [
    'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":3,'
    '"completion_tokens":1}}\n\ndata: [DONE]\n\n',
    ': keep-alive\r\n\r\nevent: error\r\ndata: {"error":{"message":"x"}}\r\n\r\n',
]
TEMPLATES = [
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(9) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% macro f(n) %}{{ f(n) if n else 'x' * 99 }}{% endmacro %}{{ f(3) }}{{ messages | tojson }}",
]
CONFIG = (
    '{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,"num_attention_heads":4,'
    '"num_key_value_heads":2,"rms_norm_eps":1e-5,"rope_theta":10000.0,"vocab_size":288,"max_position_embeddings":64,'
    '"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32},"tie_word_embeddings":true}'
)
TOKENIZER = (
    '{"version":"1.0","added_tokens":[{"id":4,"content":"<|im_end|>","special":true,"single_word":false,"lstrip":false,'
    '"rstrip":false,"normalized":false}],"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"_"},'
    '"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\\\s+(?!\\\\S)|\\\\p{L}+"},"behavior":"Isolated","invert":false},'
    '"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"h":0,"e":1,"he":2},"merges":["h e"]}}'
)
ROWS = [
    '{"id":"a","question":"1+1?","answer":"2"}\n{"id":"b","question":"x","answer":["y"],"choices":["x","y"]}\n',
    "id,question,answer\n1,\"a \"\"b\"\"\",3\n",
    '[{"messages":[{"role":"user","content":"q"}],"answer":true}]',
]


def seeds(target):
    """Returns the inputs that a target begins with."""
    texts = {
        "schema": [schema + "\0" + '{"a":"b"}' for schema in SCHEMAS] + SCHEMAS,
        "streams": STREAMS,
        "chat_template": TEMPLATES,
        "config_json": [CONFIG],
        "tokenizer_json": [TOKENIZER],
        "ingest": [chr(kind) + rows for rows in ROWS for kind in range(8)],
    }
    found = [text.encode() for text in texts.get(target, [])]
    if target == "gguf":
        # The header, and some of the tensors.
        found.append((FIXTURES / "tiny-llama.gguf").read_bytes()[: 64 << 10])
    return found


def fuzz(target, arguments):
    """Runs one target; returns its line of the report and whether it found something."""
    work = pathlib.Path(arguments.work)
    corpus = work / ("fresh" if arguments.fresh else "corpus") / target
    if arguments.fresh:
        shutil.rmtree(corpus, ignore_errors=True)
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds(target)):
        (corpus / f"seed-{index}").write_bytes(seed)
    is_text = target in ("extractor", "latex", "code_blocks")
    command = [
        str(pathlib.Path(arguments.binaries) / target),
        str(corpus),
        f"-dict={arguments.words}",
        f"-max_len={2048 if is_text else 65536}",
        "-timeout=25",
        "-rss_limit_mb=2048",
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-artifact_prefix={work}/{target}-",
        "-print_final_stats=1",
    ]
    if arguments.fresh:
        command.append(f"-runs={RUNS[target]}")
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False)
    output = run.stdout.decode(errors="replace")
    runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
    peak = re.search(r"stat::peak_rss_mb:\s+(\d+)", output)
    line = f"{target:16} {runs.group(1) if runs else '?':>10} runs, {len(list(corpus.iterdir())):6} inputs kept"
    line += f", {peak.group(1) if peak else '?':>5} MB at most"
    if run.returncode == 0:
        return line, False
    return f"{line}, FOUND (exit {run.returncode}):\n" + "\n".join(output.splitlines()[-40:]), True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--words", required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="of all draws; 0: another one each time")
    parser.add_argument("--fresh", action="store_true", help="from the seeds alone, for a fixed number of runs")
    parser.add_argument("targets", nargs="+")
    arguments = parser.parse_args()
    has_found = False
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for line, is_found in pool.map(lambda target: fuzz(target, arguments), arguments.targets):
            print(line, flush=True)
            has_found |= is_found
    sys.exit(1 if has_found else 0)


if __name__ == "__main__":
    main()
