"""Plants duplicates of known kinds into real queries and counts the actions of `thinkloom dedup` on them.

    python3 tests/tools/dedup_truth.py THINKLOOM QUERIES.jsonl [PER_KIND]

QUERIES are rows {id, question, answer} of word problems. The copies follow after all originals. The recall of a kind is the
share of its copies with the right action; its precision is the share of its removed copies that are removed for their own
original. The tool prints the originals that are removed, although no copy was planted before them.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REMOVED = {"duplicate", "near_duplicate"}


def sentences(text):
    return re.split(r"(?<=[.?!])\s+", text.strip())


def reordered(rng, text):
    parts = sentences(text)
    if len(parts) < 4:
        return None
    body = parts[:-1]
    while body == parts[:-1]:
        rng.shuffle(body)
    return " ".join(body + parts[-1:])


def case_and_whitespace(rng, text):
    changed = rng.choice([str.upper, str.lower, str.swapcase, lambda text: text])(text)
    return re.sub(" ", lambda _: rng.choice([" ", "  ", "\n", "\t"]), changed) + rng.choice(["", " ", "\n"])


def typos(rng, text):
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if re.fullmatch("[a-z]{5,}", word)]
    if len(places) < 5:
        return None
    for place in rng.sample(places, rng.randint(1, 3)):
        word, at = words[place], rng.randrange(1, len(words[place]) - 1)
        words[place] = rng.choice([
            word[:at] + word[at + 1] + word[at] + word[at + 2:],
            word[:at] + word[at + 1:],
            word[:at] + word[at] + word[at:],
            word[:at] + rng.choice("aeiostr") + word[at + 1:],
        ])
    return " ".join(words)


def other_number(rng, text):
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return None
    found = rng.choice(numbers)
    return text[:found.start()] + str(int(found[0]) + rng.randint(1, 9)) + text[found.end():]


KINDS = {
    # kind: how, whether the answer changes too, the right actions
    "exact copy": (lambda rng, text: text, False, {"duplicate"}),
    "case and whitespace": (case_and_whitespace, False, REMOVED),
    "reordered sentences": (reordered, False, REMOVED),
    "1 to 3 typos": (typos, False, REMOVED),
    "one number, same answer": (other_number, False, REMOVED),
    "one number, other answer": (other_number, True, {"keep"}),
}


def main():
    thinkloom, source = sys.argv[1:3]
    per_kind = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    rng = random.Random(0)
    originals = [json.loads(line) for line in open(source, encoding="utf-8")]
    planted, truth = [], {}
    bases = iter(rng.sample(originals, len(originals)))
    for kind, (change, changes_answer, _) in KINDS.items():
        count = 0
        while count < per_kind:
            base = next(bases)
            question = change(rng, base["question"])
            if question is None or (kind != "exact copy" and question == base["question"]):
                continue
            answer = str(int(base["answer"].replace(",", "").split(".")[0]) + 1) if changes_answer else base["answer"]
            row = {"id": f"{kind}:{count}", "question": question, "answer": answer, "kind": "numeric"}
            planted.append(row)
            truth[row["id"]] = (kind, base["id"])
            count += 1
    rng.shuffle(planted)
    with tempfile.TemporaryDirectory() as folder:
        queries, out = Path(folder, "queries.jsonl"), Path(folder, "out.jsonl")
        queries.write_text("".join(json.dumps(row) + "\n" for row in originals + planted), encoding="utf-8")
        subprocess.run([thinkloom, "dedup", "--queries", queries, "-o", out], check=True)
        decisions = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    heads = {row["id"]: row.get("of") or row["id"] for row in decisions}
    print(f"{'kind':26} {'planted':>7} {'recall':>7} {'precision':>9}  actions")
    for kind, (_, _, right) in KINDS.items():
        rows = [row for row in decisions if truth.get(row["id"], ("",))[0] == kind]
        removed = [row for row in rows if row["action"] in REMOVED]
        own = [row for row in removed if row["of"] == heads[truth[row["id"]][1]]]
        actions = {}
        for row in rows:
            name = "variant" if row.get("variant_of") else row["action"]
            actions[name] = actions.get(name, 0) + 1
        recall = sum(row["action"] in right for row in rows) / len(rows)
        precision = f"{len(own) / len(removed):9.3f}" if removed else "        -"
        print(f"{kind:26} {len(rows):7} {recall:7.3f} {precision}  {actions}")
    for row in decisions:
        if row["id"] not in truth and row["action"] != "keep":
            print("not planted:", json.dumps(row))


main()
