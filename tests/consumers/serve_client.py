#!/usr/bin/env python3
"""`thinkloom serve` as the official openai client, verl, TRL and OpenRLHF see it.

    serve_client.py THINKLOOM CONFIG [--seconds 60] [--clients 64]

Starts the server on a free port, checks, and prints what it saw. Needs the package openai.
"""
import argparse
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTION = [{"role": "user", "content": "Tom has 3 apples and buys 4 more. How many apples does he have?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 80},
        "verdict": {"enum": ["think_on", "think_off"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
    },
    "required": ["reason", "verdict", "score", "tags"],
    "additionalProperties": False,
}


def start(thinkloom, config, *arguments):
    server = subprocess.Popen([thinkloom, "serve", "-c", config, "--listen", "127.0.0.1:0", *arguments],
                              stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    assert line.startswith("listening on http://"), line
    return server, line.split()[-1]


def get(url):
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.read().decode()


def post(url, body):
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def metric(url, name):
    return next(float(line.split()[-1]) for line in get(url + "/metrics").splitlines() if line.startswith(f"thinkloom_{name} "))


def check_chat(client, model):
    def chat(**more):
        return client.chat.completions.create(model=model, messages=QUESTION, max_tokens=48, **more)

    one = chat(seed=1)
    four = chat(seed=1, n=4, temperature=0.8, logprobs=True)
    again = chat(seed=1, n=4, temperature=0.8)
    texts = [choice.message.content for choice in four.choices]
    assert texts == [choice.message.content for choice in again.choices] and len(set(texts)) > 1
    assert one.choices[0].message.content == chat(seed=1).choices[0].message.content
    assert all(token.logprob <= 0 for token in four.choices[0].logprobs.content)
    streamed = ["", "", "", ""]
    usage = None
    for chunk in chat(seed=1, n=4, temperature=0.8, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts, (streamed, texts)
    assert usage.completion_tokens == again.usage.completion_tokens
    plain = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, seed=2)
    assert plain.usage.completion_tokens == 8
    try:
        client.chat.completions.create(model="other", messages=QUESTION)
        raise AssertionError("another model was served")
    except openai.BadRequestError as error:
        assert error.param == "model"
    print(f"chat, n = 4, stream, seed: equal; {client.models.list().data[0].id}; e.g. {one.choices[0].message.content!r}")


def check_schema(client, model):
    format = {"type": "json_schema", "json_schema": {"name": "judgement", "strict": True, "schema": SCHEMA}}

    def ask(seed):
        return client.chat.completions.create(
            model=model, seed=seed, max_tokens=120, response_format=format,
            messages=[{"role": "user", "content": "Does 17 + 25 need careful reasoning? Reply as JSON."}]).choices[0]

    def obeys(choice):
        value = json.loads(choice.message.content)
        return (list(value) == list(SCHEMA["properties"]) and value["verdict"] in ("think_on", "think_off")
                and isinstance(value["score"], int) and 0 <= value["score"] <= 10 and len(value["reason"]) <= 80
                and len(value["tags"]) <= 3 and choice.finish_reason == "stop")

    with concurrent.futures.ThreadPoolExecutor(25) as pool:
        choices = list(pool.map(ask, range(50)))
    kept = sum(obeys(choice) for choice in choices)
    print(f"JSON schema obeyed {kept} of 50 times, e.g. {choices[0].message.content}", flush=True)
    assert kept == 50


def check_cancel(client, model, url):
    before = metric(url, "cancelled_responses_total")
    stream = client.chat.completions.create(model=model, messages=QUESTION, n=8, max_tokens=1500, temperature=1.5,
                                            stream=True)
    next(iter(stream))
    held = metric(url, "responses_under_way")
    stream.close()
    started = time.monotonic()
    while metric(url, "responses_under_way") > 0 or metric(url, "responses_running") > 0:
        assert time.monotonic() - started < 20
        time.sleep(0.02)
    waited = time.monotonic() - started
    print(f"cancelled stream: {held:.0f} responses were under way, none {1000 * waited:.0f} ms after the client left; "
          f"{metric(url, 'cancelled_responses_total') - before:.0f} counted as cancelled")


def check_load(client, model, url, clients, seconds):
    errors, done, lock = [], [0, 0], threading.Lock()
    end = time.monotonic() + seconds

    def work(index):
        turn = 0
        while time.monotonic() < end:
            try:
                reply = client.chat.completions.create(
                    model=model, max_tokens=64, temperature=0.6, top_p=0.95, seed=index * 100_000 + turn,
                    messages=[{"role": "user", "content": f"What is {index} + {turn}? Think step by step."}])
                with lock:
                    done[0] += 1
                    done[1] += reply.usage.completion_tokens
            except Exception as error:  # all kinds count
                errors.append(repr(error))
            turn += 1

    sampled = metric(url, "sampled_tokens_total")
    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(index,)) for index in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    took = time.monotonic() - started
    sampled = metric(url, "sampled_tokens_total") - sampled
    print(f"{clients} clients, {took:.0f} s: {done[0]} replies, {len(errors)} errors, {sampled / took:.0f} tokens per second"
          f"{'; ' + errors[0] if errors else ''}")
    assert not errors


def recipe(name, url):
    os.environ["THINKLOOM_URL"] = url
    spec = importlib.util.spec_from_file_location(name, ROOT / "fixtures" / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_rewards(thinkloom, url):
    def completion(mode, answer):
        think = "<think>\n2 + 2\n</think>\n\n" if mode == "think_on" else ""
        return f"<judge>\nWhy.\n</judge>\n\n<{mode}>\n{think}<answer>\n{answer}\n</answer>"

    rows = []
    for query in range(30):
        for index in range(8):
            mode = "think_on" if (query + index) % 2 else "think_off"
            text = completion(mode, query + (index * query) % 3)
            text = text if (query + 3 * index) % 5 else text[:-2]
            rows.append({"query_id": f"q{query}", "completion": text, "gold": str(query), "kind": "numeric"})
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        run = subprocess.run([thinkloom, "reward", "--rollouts", file.name], check=True, capture_output=True, text=True)
    expected = [json.loads(line) for line in run.stdout.splitlines()]
    verl = recipe("verl_reward", url)
    extras = [{"query_id": row["query_id"], "kind": row["kind"], "split": "train"} for row in rows]
    texts, golds = [row["completion"] for row in rows], [row["gold"] for row in rows]
    scored = verl.compute_score_batched(["own"] * len(rows), texts, golds, extras)
    for found, want in zip(scored, expected, strict=True):
        assert found["score"] == want["reward"] and found["judge_chars"] == want["judge_chars"]
        assert found["advantage_judge"] == want["advantage_judge"] and found["advantage_answer"] == want["advantage_answer"]
    assert verl.compute_score("own", texts[3], golds[3], extras[3])["score"] == expected[3]["reward"]
    trl = recipe("trl_reward", url)
    prompts = [[{"role": "user", "content": row["query_id"]}] for row in rows]
    conversational = [[{"role": "assistant", "content": text}] for text in texts]
    assert trl.thinkloom_reward(prompts, conversational, gold=golds, kind=["numeric"] * len(rows)) == [
        want["reward"] for want in expected]
    # What OpenRLHF's remote_rm_fn sends and reads.
    remote = post(url + "/openrlhf/reward", {
        "query": [f"<|im_start|>user\n{row['query_id']}<|im_end|>\n<|im_start|>assistant\n{row['completion']}<|im_end|>" for row in rows],
        "prompts": [f"<|im_start|>user\n{row['query_id']}<|im_end|>\n<|im_start|>assistant\n" for row in rows],
        "labels": golds})
    assert remote["rewards"] == [want["reward"] for want in expected]
    assert remote["extra_logs"]["advantage_judge"] == [want["advantage_judge"] for want in expected]
    print(f"verl, TRL and OpenRLHF recipes: {len(rows)} rollouts in 30 groups, equal to the command's, bit for bit")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("thinkloom")
    parser.add_argument("config")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    server, url = start(arguments.thinkloom, arguments.config)
    try:
        client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=600)
        model = client.models.list().data[0].id
        check_chat(client, model)
        check_schema(client, model)
        check_cancel(client, model, url)
        check_rewards(arguments.thinkloom, url)
        check_load(client, model, url, arguments.clients, arguments.seconds)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=40) == 0, "it does not end well"
    finally:
        server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
