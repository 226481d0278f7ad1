#!/usr/bin/env python3
"""Golden vectors of the reward rule, computed with numpy in extended precision, independently of src/reward.rs.

    reward_vectors.py write FILE             write the vectors (fixtures/reward_vectors.jsonl)
    reward_vectors.py check THINKLOOM FILE   run `thinkloom reward` over every group and print the largest difference

Each line of the file is one group: the settings that differ from the defaults, the responses as [mode, correct,
format_ok], and the results of the rule. The formulas are in the module's documentation.
"""
import json
import subprocess
import sys
import tempfile

import numpy as np

GROUPS = 200
SLACK = 1e-12
DEFAULTS = dict(format_weight=0.2, omega=0.01, gamma=0.3, epsilon=1e-6, deviation="population", bias_adjustment=True,
                global_term=True, local_normalization="mode", method="hipo")
LONG = np.longdouble


def moments(values, deviation):
    """Mean and standard deviation. Rewards are doubles, so that their sums are exact in 64 bits of mantissa."""
    values = np.array(values, dtype=np.float64).astype(LONG)
    if len(values) == 0:
        return LONG(0), LONG(0)
    ddof = 1 if deviation == "sample" else 0
    if len(values) <= ddof:
        return values.mean(), LONG(0)
    return values.mean(), values.std(ddof=ddof)


def rule(responses, settings):
    s = {**DEFAULTS, **settings}
    eps, gamma = LONG(s["epsilon"]), LONG(s["gamma"])
    modes = np.array([mode for mode, _, _ in responses])
    # The base reward is a double by definition: one multiplication and one addition.
    rewards = np.array([float(c) + s["format_weight"] * float(f) for _, c, f in responses], dtype=np.float64)
    mean, std = moments(rewards, s["deviation"])
    own = {m: moments(rewards[modes == m], s["deviation"]) for m in ("think_on", "think_off")}
    adjusted = {m: own[m][0] for m in own}
    is_adjusted = False
    if s["method"] == "hipo" and s["bias_adjustment"] and (modes == "think_on").any() and (modes == "think_off").any():
        difference = adjusted["think_on"] - adjusted["think_off"]
        boost = LONG(s["omega"]) * adjusted["think_on"]
        if boost > 0 and -SLACK <= difference <= boost + SLACK:
            adjusted["think_off"] += boost
            is_adjusted = True
    judge, answer = [], []
    for mode, reward in zip(modes, rewards.astype(LONG)):
        whole = (reward - mean) / (std + eps)
        if s["method"] == "grpo":
            judge.append(whole)
            answer.append(whole)
            continue
        shared = adjusted[mode] - mean if s["global_term"] else LONG(0)
        judge.append(shared + gamma * whole)
        if s["local_normalization"] == "mode":
            answer.append((reward - own[mode][0]) / (own[mode][1] + eps))
        elif s["local_normalization"] == "group":
            answer.append(whole)
        else:
            answer.append(reward - own[mode][0])
    present = {m: (float(adjusted[m]) if (modes == m).any() else None) for m in adjusted}
    return dict(mean=float(mean), deviation=float(std), mean_on=present["think_on"], mean_off=present["think_off"],
                is_adjusted=bool(is_adjusted), reward=[float(r) for r in rewards],
                advantage_judge=[float(a) for a in judge], advantage_answer=[float(a) for a in answer])


def group(on, off):
    """A group from pairs (correct, format_ok) of each mode."""
    return [["think_on", c, f] for c, f in on] + [["think_off", c, f] for c, f in off]


def edge_cases():
    yes, no, bare = (True, True), (False, False), (True, False)
    some = group([yes, no, bare, yes], [yes, bare, no, no])
    return [
        ({}, group([yes], [])), ({}, group([], [no])), ({}, group([yes], [yes])), ({}, group([no], [no])),
        ({}, group([no], [yes])), ({}, group([yes], [no])),
        # Equal rewards of every size: the deviation is exactly 0.
        *[({}, group([yes] * n, [yes] * n)) for n in (2, 3, 7, 8, 16)],
        ({}, group([no] * 8, [no] * 8)), ({}, group([bare] * 5, [bare] * 3)),
        ({"format_weight": 0.1}, group([yes] * 3, [yes] * 6)),
        # One mode only, of many sizes.
        ({}, group([yes, no, bare], [])), ({}, group([], [yes, no, bare, no])),
        # The difference is exactly the boost: 1 - 0.99 = 0.01 * 1; and just beyond it.
        ({"format_weight": 0.0}, group([yes] * 4, [yes] * 99 + [no])),
        ({"format_weight": 0.0}, group([yes] * 4, [yes] * 98 + [no] * 2)),
        ({"format_weight": 0.0, "omega": 0.05}, group([yes] * 20, [yes] * 19 + [no])),
        ({"format_weight": 0.0, "omega": 0.05}, group([yes] * 20, [yes] * 18 + [no] * 2)),
        # The same rewards in another order have the same mean; Think-off ahead by a little.
        ({}, group([yes, no, bare], [bare, yes, no])), ({}, group([no, yes, yes], [yes, yes, no])),
        ({"omega": 0.05}, group([yes, no, no, bare, bare], [bare, yes, bare, no, no])),
        ({}, group([yes, no], [yes, yes, no])),
        # Format alone, correctness alone.
        ({}, group([(False, True)] * 3, [(False, False)] * 3)), ({}, group([bare, no], [(False, True), bare])),
        # Every switch on one group.
        ({"bias_adjustment": False}, some), ({"global_term": False}, some), ({"local_normalization": "group"}, some),
        ({"local_normalization": "none"}, some), ({"method": "grpo"}, some), ({"deviation": "sample"}, some),
        ({"omega": 0.0}, some), ({"gamma": 0.0}, some), ({"epsilon": 1e-3}, some),
        ({"deviation": "sample"}, group([yes], [no])), ({"deviation": "sample"}, group([yes, no], [no])),
        ({"method": "grpo", "deviation": "sample"}, group([yes, no, bare], [no])),
    ]


def random_case(random):
    settings = {}
    if random.random() < 0.5:
        settings["format_weight"] = float(random.choice([0.0, 0.1, 0.2, 0.5, 1.0, round(random.random(), 3)]))
    if random.random() < 0.5:
        settings["omega"] = float(random.choice([0.0, 0.01, 0.05, 0.1, 1.0]))
    if random.random() < 0.3:
        settings["gamma"] = float(random.choice([0.0, 0.1, 0.3, 1.0]))
    if random.random() < 0.2:
        settings["epsilon"] = float(random.choice([1e-8, 1e-4]))
    if random.random() < 0.3:
        settings["deviation"] = "sample"
    switch = random.integers(0, 10)
    settings.update({0: {"bias_adjustment": False}, 1: {"global_term": False}, 2: {"local_normalization": "group"},
                     3: {"local_normalization": "none"}, 4: {"method": "grpo"}}.get(int(switch), {}))
    rate, form = random.random(2), random.random()
    size = int(random.choice([2, 4, 8, 16, 32, 64]))
    share = random.choice([0.0, 0.1, 0.5, 0.5, 0.9, 1.0])
    responses = []
    for _ in range(size):
        is_on = random.random() < share
        correct = random.random() < rate[int(is_on)]
        responses.append(["think_on" if is_on else "think_off", bool(correct), bool(random.random() < form)])
    return settings, responses


def write(path):
    random = np.random.default_rng(250923967)
    cases = edge_cases()
    cases += [random_case(random) for _ in range(GROUPS - len(cases))]
    with open(path, "w", encoding="ascii") as file:
        for settings, responses in cases:
            case = {"settings": settings, "responses": responses, **rule(responses, settings)}
            file.write(json.dumps(case, separators=(",", ":")) + "\n")
    print(f"{len(cases)} groups, {sum(len(r) for _, r in cases)} responses, in {path}")


FLAGS = {"format_weight": "--format-weight", "omega": "--omega", "gamma": "--gamma", "epsilon": "--epsilon",
         "deviation": "--deviation", "local_normalization": "--local-normalization", "method": "--method"}


def check(thinkloom, path):
    by_settings = {}
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file):
            case = json.loads(line)
            by_settings.setdefault(json.dumps(case["settings"]), []).append((number, case))
    largest, groups, rows = 0.0, 0, 0
    for key, cases in by_settings.items():
        arguments = []
        for name, value in json.loads(key).items():
            if value is False:
                arguments.append({"bias_adjustment": "--no-bias-adjustment", "global_term": "--no-global-term"}[name])
            else:
                arguments += [FLAGS[name], str(value)]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for number, case in cases:
                for mode, correct, format_ok in case["responses"]:
                    row = {"query_id": f"g{number}", "mode": mode, "correct": correct, "format_ok": format_ok}
                    file.write(json.dumps(row) + "\n")
            file.flush()
            run = subprocess.run([thinkloom, "reward", "--rollouts", file.name, *arguments], check=True,
                                 capture_output=True, text=True)
        lines = iter(run.stdout.splitlines())
        for number, case in cases:
            groups += 1
            for index in range(len(case["responses"])):
                row = json.loads(next(lines))
                assert row["query_id"] == f"g{number}", row
                rows += 1
                own = case["mean_on"] if row["mode"] == "think_on" else case["mean_off"]
                pairs = [(row["mean_reward_mode"], own), (row["mean_reward"], case["mean"])]
                pairs += [(row[name], case[name][index]) for name in ("reward", "advantage_judge", "advantage_answer")]
                largest = max([largest, *[abs(a - b) for a, b in pairs]])
        assert next(lines, None) is None
    print(f"{groups} groups, {rows} responses, {len(by_settings)} settings: largest difference {largest:.3g}")
    return 0 if largest <= 1e-12 else 1


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "write":
        write(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(sys.argv[2], sys.argv[3]))
    else:
        sys.exit(__doc__)
