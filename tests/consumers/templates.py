"""Holds `thinkloom export --check` against the chat templates as transformers renders them.

Usage: templates.py THINKLOOM RUN_DIRECTORY TEMPLATES_DIRECTORY

For every trainer, flavour, layout and template: the rows of the export are rendered the way the trainer does it, and text
and place of the loss must be what the check says; what the check calls whole must hold the response where loss falls.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from transformers.utils.chat_template_utils import render_jinja_template

FORMATS = ("trl", "verl", "llamafactory", "swift", "axolotl")
STANDIN = "[[response]]"
# Fixtures whose own template must be refused for a naive export of the flavour `auto`, by trainer.
REFUSED = {"qwen3": {"trl", "verl", "axolotl"}, "qwen3_5": set(FORMATS) - {"swift"}, "deepseek_r1": set(FORMATS) - {"swift"},
           "llama3": {"axolotl"}}


class Template:
    def __init__(self, folder, source=None):
        self.source = source or (folder / "chat_template.jinja").read_text(encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        token = lambda key: (config[key]["content"] if isinstance(config[key], dict) else config[key]) or ""
        self.tokens = {"bos_token": token("bos_token"), "eos_token": token("eos_token")}
        whole = self.render([user("u"), assistant("@@a@@")])
        self.turn_tail = whole.rsplit("@@a@@", 1)[1]
        self.begin = self.tokens["bos_token"] if config["add_bos_token"] else ""

    def render(self, messages, opens=False, **switch):
        rendered, _ = render_jinja_template(
            [messages], chat_template=self.source, add_generation_prompt=opens, **self.tokens, **switch
        )
        return rendered[0]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def without_block(prompt):
    """Takes a think block off the end of a prompt, open or empty."""
    head, mark, tail = prompt.rpartition("<think>")
    return head if mark and tail.strip() in ("", "</think>") else prompt


def shared(left, right):
    count = 0
    for one, other in zip(left, right):
        if one != other:
            break
        count += 1
    return count


def rendered(name, task, row, template, layout):
    """Returns [(response, text, loss_start, loss_end)] of an export's row, as the trainer would have them."""
    if layout == "text":
        return finished(name, task, row, template)
    if name == "trl":
        switch = row.get("chat_template_kwargs") or {}
        prompt = template.render(row["prompt"], opens=True, **switch)
        if task == "rl":
            return [(None, prompt, len(prompt), len(prompt))]
        found = []
        for key in ("completion", "chosen", "rejected"):
            if row.get(key) is not None:
                text = template.render(row["prompt"] + row[key], **switch)
                found.append((row[key][0]["content"], text, min(len(prompt), len(text)), len(text)))
        return found
    if name == "verl":
        if task == "rl":
            prompt = template.render(row["prompt"], opens=True)
            return [(None, prompt, len(prompt), len(prompt))]
        asked, response = row["messages"]
        opening = len(template.render([user("")], opens=True)) - len(template.render([user("")]))
        try:
            text = template.render([asked, response])
        except Exception:
            return [(response["content"], None, None, None)]
        return [(response["content"], text, len(template.render([asked])) + opening, len(text))]
    if name == "axolotl" and task == "sft":
        return [axolotl(row["messages"][0], row["messages"][1]["content"], template)]
    if name == "axolotl":
        prompt = template.begin + template.render([row["messages"][0]], opens=True)
        return [(response, prompt + preferred(response, template), len(prompt), None) for response in responses(row, task)]
    asked = row["instruction"] if name == "llamafactory" else row["messages"][0]["content"]
    prompt = template.render([user(asked)], opens=True)
    prompt = without_block(prompt) if name == "swift" else prompt
    if task == "rl":
        return [(None, prompt, len(prompt), len(prompt))]
    whole = [(response, prompt + response + template.turn_tail) for response in responses(row, task)]
    return [(response, text, len(prompt), len(text)) for response, text in whole]


def preferred(response, template):
    """Cuts a response out of a rendered conversation, as axolotl does for preferences."""
    whole = template.render([user("[[dummy_message]]"), assistant(response)])
    text = whole[max(whole.rfind(response), 0):].rstrip()
    return text if text.endswith(template.tokens["eos_token"]) else text + template.tokens["eos_token"]


def responses(row, task):
    if "instruction" in row:
        return [row["output"]] if "output" in row else [row["chosen"], row["rejected"]]
    if "chosen" in row:
        return [row["chosen"]["content"], row["rejected"]["content"]]
    first = row["messages"][1]["content"]
    return [first, row["rejected_response"]] if "rejected_response" in row else [first]


def axolotl(asked, response, template):
    text = template.render([asked, assistant(response)])
    other = template.render([asked, assistant(STANDIN)])
    start = shared(text, other)
    end = len(text) - shared(text[start:][::-1], other[start:][::-1])
    eos = template.tokens["eos_token"]
    stop = end + len(eos) if eos and text[end:].startswith(eos) else end
    return (response, text, start, stop)


def finished(name, task, row, template):
    """The tokenizer's begin token stands before a text where the trainer asks for special tokens, and so does the end token."""
    if "segments" in row:
        prompt, answers = row["segments"][0]["text"], [row["segments"][1]["text"]]
    elif "messages" in row:
        prompt, answers = row["messages"][0]["content"], [] if task == "rl" else responses(row, task)
    elif "instruction" in row:
        prompt, answers = row["instruction"], responses(row, task)
    else:
        prompt = row["prompt"]
        answers = [row[key] for key in ("completion", "chosen", "rejected") if row.get(key) is not None]
    if name in ("trl", "swift") or (name == "axolotl" and task != "sft"):
        prompt, eos = template.begin + prompt, template.tokens["eos_token"]
        answers = [answer if answer.endswith(eos) else answer + eos for answer in answers]
    if not answers:
        return [(None, prompt, len(prompt), len(prompt))]
    return [(None, prompt + answer, len(prompt), len(prompt + answer)) for answer in answers]


def read_rows(folder, task):
    files = sorted((folder / task).iterdir())
    if files[0].suffix == ".jsonl":
        return [json.loads(line) for line in files[0].read_text(encoding="utf-8").split("\n") if line]
    return [row for name in files for row in pq.read_table(name).to_pylist()]


class Checker:
    def __init__(self, program, run):
        self.program, self.run = program, run
        self.rows = self.whole = 0

    def call(self, *arguments):
        command = [self.program, "export", str(self.run), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    def compare(self, name, flavour, folder, template, arguments, layout):
        """Returns the problems that the check found, by task."""
        options = ["--format", name, "--flavour", flavour, *arguments]
        outcome = self.call(*options, "--check", "--json")
        said = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert said and outcome.returncode in (0, 1), outcome.stderr
        problems = {}
        for task in dict.fromkeys(row["task"] for row in said):
            mine = [row for row in said if row["task"] == task]
            expected = [one for row in read_rows(folder, task) for one in rendered(name, task, row, template, layout)]
            where = f"{folder.name}: {name} {flavour} {task} {layout}"
            assert len(mine) == len(expected), f"{where}: {len(mine)} rows checked, {len(expected)} in the export"
            for row, (response, text, start, end) in zip(mine, expected):
                spot = f"{where}: {row['query_id']}"
                if row["text"] is None:  # the trainer cannot render it, and the check says so
                    assert row["problems"], spot
                    problems.setdefault(task, []).extend(row["problems"])
                    continue
                assert row["text"] == text, f"{spot}: the check says\n{row['text']!r}\ntransformers says\n{text!r}"
                end = len(text) if end is None else end
                assert (row["loss_start"], row["loss_end"]) == (start, end), f"{spot}: loss {start}..{end}, check: {row}"
                assert response is None or response == row["response"], f"{spot}: another response"
                if not row["problems"] and task != "rl":
                    learnt = text[start:end]
                    # Where the user chose to think, the prompt may open the block.
                    wanted = row["response"]
                    if flavour == "controlled" and text[:start].endswith("<think>\n"):
                        wanted = wanted.removeprefix("<think>\n")
                    assert learnt.startswith(wanted), f"{spot}: called whole, but {learnt!r} is learnt"
                    self.whole += 1
                self.rows += 1
                problems.setdefault(task, []).extend(row["problems"])
        return problems


def main(program, run, templates):
    checker = Checker(program, run)
    folders = sorted(path for path in Path(templates).iterdir() if path.is_dir())
    assert len(folders) == 7, folders
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for name in FORMATS:
            for flavour in ("auto", "controlled"):
                plain = scratch / f"{name}-{flavour}"
                outcome = checker.call("--format", name, "--flavour", flavour, "-o", plain)
                assert outcome.returncode == 0, outcome.stderr
                for folder in folders:
                    model = ["--template", folder]
                    problems = checker.compare(name, flavour, plain, Template(folder), model, "messages")
                    if flavour == "auto":
                        is_refused = any(problems.values())
                        assert is_refused == (name in REFUSED.get(folder.name, ())), f"{folder.name} {name}: {problems}"
                        target = scratch / f"{name}-{folder.name}-naive"
                        outcome = checker.call("--format", name, *model, "-o", target)
                        assert outcome.returncode == int(is_refused), outcome.stderr
                        assert target.exists() != is_refused, "a refused export leaves nothing behind"
                        if folder.name == "qwen3" and is_refused and name != "verl":
                            assert "the template drops the judge block" in outcome.stderr and "<judge>" in outcome.stderr
                    for layout in ("text", "wrapped") if name != "verl" else ("wrapped",):
                        extra = ["--layout", "text"] if layout == "text" else ["--wrap-template"]
                        target = scratch / f"{name}-{flavour}-{folder.name}-{layout}"
                        if name == "axolotl" and layout == "wrapped" and Template(folder).begin:
                            extra = [*extra, "--task", "sft"]  # its preferences would get the begin token twice
                        outcome = checker.call("--format", name, "--flavour", flavour, *model, *extra, "-o", target)
                        assert outcome.returncode == 0, f"{target.name}: {outcome.stderr}"
                        shipped = target / "chat_template.jinja"
                        source = shipped.read_text(encoding="utf-8") if shipped.exists() else None
                        template = Template(folder, source)
                        problems = checker.compare(name, flavour, target, template, model + extra, layout)
                        assert not any(problems.values()), f"{target.name}: {problems}"
    print(f"ok: {checker.rows} rows rendered as transformers does it, {checker.whole} of them whole with loss on the response")


if __name__ == "__main__":
    main(*sys.argv[1:])
