#!/usr/bin/env python3
"""Golden vectors of the reward rule, computed with numpy in extended precision, independently of src/reward.rs.

    reward_vectors.py write FILE             write the vectors (fixtures/reward_vectors.jsonl)
    reward_vectors.py check THINKLOOM FILE   run `thinkloom reward` over every group and print the largest difference

Each line of the file is one group: the settings that differ from the defaults, the responses as [mode, correct,
format_ok], their lengths (completion_tokens) in some groups, and the results of the rule. A mode is think_on, think_off or
none. The formulas are in the module's documentation.
"""
import json
import subprocess
import sys
import tempfile

import numpy as np

# The groups of HiPO's rule, and those with thinkloom's own variants and with responses without a mode.
GROUPS = 200
VARIANTS = 100
SLACK = 1e-12
DEFAULTS = dict(format_weight=0.2, omega=0.01, gamma=0.3, epsilon=1e-6, deviation="population", bias_adjustment=True,
                global_term=True, local_normalization="mode", method="hipo", boost="relative", length_weight=0.0)
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


def length_terms(modes, correct, tokens, s):
    """What the lengths of correct responses that show a mode add to both advantages of each response."""
    judge, answer = np.zeros(len(modes), LONG), np.zeros(len(modes), LONG)
    counted = correct & (modes != "none")
    for of, out in ((counted, judge), *((counted & (modes == mode), answer) for mode in ("think_on", "think_off"))):
        mean, std = moments(tokens[of], s["deviation"])
        if s["length_weight"] > 0:
            out[of] = LONG(s["length_weight"]) * ((mean - tokens[of]) / (std + LONG(s["epsilon"])))
    return judge, answer


def rule(responses, settings, tokens=None):
    s = {**DEFAULTS, **settings}
    eps, gamma = LONG(s["epsilon"]), LONG(s["gamma"])
    modes = np.array([mode for mode, _, _ in responses])
    # The base reward is a double by definition: one multiplication and one addition.
    rewards = np.array([float(c) + s["format_weight"] * float(f) for _, c, f in responses], dtype=np.float64)
    mean, std = moments(rewards, s["deviation"])
    own = {m: moments(rewards[modes == m], s["deviation"]) for m in ("think_on", "think_off", "none")}
    adjusted = {m: own[m][0] for m in own}
    correct = np.array([bool(c) for _, c, _ in responses])
    long_judge, long_answer = length_terms(modes, correct, np.array(tokens or [0] * len(modes), LONG), s)
    is_adjusted = False
    if s["method"] == "hipo" and s["bias_adjustment"] and (modes == "think_on").any() and (modes == "think_off").any():
        difference = adjusted["think_on"] - adjusted["think_off"]
        if s["boost"] == "margin":
            boost = LONG(s["omega"])
            is_below = difference < boost - SLACK
        else:
            boost = LONG(s["omega"]) * adjusted["think_on"]
            is_below = difference <= boost + SLACK
        if boost > 0 and -SLACK <= difference and is_below:
            adjusted["think_off"] += boost
            is_adjusted = True
    judge, answer = [], []
    for mode, reward, of_judge, of_answer in zip(modes, rewards.astype(LONG), long_judge, long_answer):
        whole = (reward - mean) / (std + eps)
        if s["method"] == "grpo":
            judge.append(whole)
            answer.append(whole)
            continue
        shared = adjusted[mode] - mean if s["global_term"] else LONG(0)
        judge.append(shared + gamma * whole + of_judge)
        if s["local_normalization"] == "group" or mode == "none":
            answer.append(whole + of_answer)
        elif s["local_normalization"] == "mode":
            answer.append((reward - own[mode][0]) / (own[mode][1] + eps) + of_answer)
        else:
            answer.append(reward - own[mode][0] + of_answer)
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


def variant_edge_cases():
    yes, no, lost = (True, True), (False, False), ["none", False, False]
    margin, length = {"boost": "margin", "omega": 0.1}, {"length_weight": 0.2}
    even = group([yes] * 3, [yes] * 3)
    return [
        (margin, even, None), (margin, group([no] * 2, [no] * 2), None), (margin, group([yes] * 4, [no]), None),
        ({**margin, "omega": 0.0}, even, None), ({**margin, "omega": 1.2}, group([yes], [no]), None),
        ({**margin, "format_weight": 0.0}, group([yes] * 10, [yes] * 9 + [no]), None),
        ({**margin, "format_weight": 0.0, "omega": 0.11}, group([yes] * 10, [yes] * 9 + [no]), None),
        ({**margin, "format_weight": 0.0}, group([yes] * 9 + [no], [yes] * 10), None),
        ({}, [lost], None), ({}, [lost, lost], None), ({}, even + [lost], None), ({}, group([yes, no], []) + [lost], None),
        ({"method": "grpo"}, even + [lost], None), ({"local_normalization": "none"}, even + [lost] * 2, None),
        ({"global_term": False}, even + [lost], None), ({}, group([no], [no]) + [["none", False, True]], None),
        ({}, group([yes], [no]) + [["none", True, False]], None),
        (length, even, [9, 8, 7, 3, 2, 1]), (length, even, [5] * 6), (length, group([yes], [yes]), [5, 4]),
        (length, group([yes, no], [no]), [5, 4, 3]), (length, group([no], [no]), [5, 4]),
        ({**length, "deviation": "sample"}, even, [9, 9, 7, 3, 2, 1]), ({"length_weight": 1.0}, even, [1, 900, 3, 7, 7, 7]),
        (length, even + [["none", True, False]], [9, 8, 7, 3, 2, 1, 4]),
    ]


def random_variant(random):
    settings, responses = random_case(random)
    if random.random() < 0.5:
        settings["boost"] = "margin"
    for response in responses:
        if random.random() < 0.1:
            response[0] = "none"
    tokens = None
    if random.random() < 0.6 and settings.get("method") != "grpo":
        settings["length_weight"] = float(random.choice([0.05, 0.2, 1.0]))
        tokens = [int(t) for t in random.integers(1, random.choice([3, 900]), len(responses))]
    return settings, responses, tokens


def write(path):
    random = np.random.default_rng(250923967)
    cases = [(*case, None) for case in edge_cases()]
    cases += [(*random_case(random), None) for _ in range(GROUPS - len(cases))]
    variants = variant_edge_cases()
    cases += variants + [random_variant(random) for _ in range(VARIANTS - len(variants))]
    with open(path, "w", encoding="ascii") as file:
        for settings, responses, tokens in cases:
            given = {"settings": settings, "responses": responses, **({"completion_tokens": tokens} if tokens else {})}
            file.write(json.dumps({**given, **rule(responses, settings, tokens)}, separators=(",", ":")) + "\n")
    print(f"{len(cases)} groups, {sum(len(r) for _, r, _ in cases)} responses, in {path}")


FLAGS = {"format_weight": "--format-weight", "omega": "--omega", "gamma": "--gamma", "epsilon": "--epsilon",
         "boost": "--boost", "length_weight": "--length-weight", "deviation": "--deviation", "local_normalization": "--local-normalization", "method": "--method"}


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
                lengths = case.get("completion_tokens") or [1] * len(case["responses"])
                for (mode, correct, format_ok), tokens in zip(case["responses"], lengths):
                    row = {"query_id": f"g{number}", "mode": mode, "correct": correct, "format_ok": format_ok,
                           "completion_tokens": tokens}
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
                own = {"think_on": case["mean_on"], "think_off": case["mean_off"], "none": None}[row["mode"]]
                assert (own is None) == (row["mean_reward_mode"] is None), row
                pairs = [(row["mean_reward"], case["mean"])] + ([(row["mean_reward_mode"], own)] if own is not None else [])
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
