"""Runs thinkloom: its commands, and its reward server."""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL_CHARS = 3000
REQUEST_SECONDS = 120


class Thinkloom:
    """The program at a path; what each command prints goes into a file of its own under `logs`."""

    def __init__(self, binary: str, logs: Path) -> None:
        self.binary, self.logs = str(Path(binary).resolve()), logs
        logs.mkdir(parents=True, exist_ok=True)
        asked = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True)
        self.version = " ".join(asked.stdout.split())

    def start(self, name: str, *arguments: str | Path) -> "Command":
        """Starts a command; `name` names its log."""
        path = self.logs / f"{name}.txt"
        with path.open("w", encoding="utf-8") as log:
            process = subprocess.Popen([self.binary, *map(str, arguments)], stdout=log, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL,
                                       env={**os.environ, "NO_COLOR": "1", "NO_PROGRESS": "1"})
        return Command(name, process, path)

    def run(self, name: str, *arguments: str | Path) -> str:
        """Runs a command and returns what it printed."""
        return self.start(name, *arguments).wait()

    @contextmanager
    def rewards(self) -> Iterator["Rewards"]:
        """Serves rewards until the block ends."""
        with (self.logs / "rewards.txt").open("w", encoding="utf-8") as log:
            process = subprocess.Popen([self.binary, "serve", "--rewards-only", "--listen", "127.0.0.1:0"],
                                       stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True)
        try:
            line = process.stdout.readline()
            if not line.startswith("listening on http://"):
                raise RuntimeError(
                    f"the reward server does not start: {(self.logs / 'rewards.txt').read_text()[-TAIL_CHARS:]}")
            yield Rewards(line.strip().removeprefix("listening on http://"))
        finally:
            process.terminate()
            process.wait()


class Command:
    """A command that was started."""

    def __init__(self, name: str, process: subprocess.Popen, log: Path) -> None:
        self.name, self.process, self.log, self.began = name, process, log, time.time()

    @property
    def seconds(self) -> float:
        """From the start to the last line that was printed."""
        return self.log.stat().st_mtime - self.began

    def wait(self) -> str:
        """Waits for the end and returns what was printed; raises with its end if the command failed."""
        code = self.process.wait()
        printed = self.log.read_text(encoding="utf-8", errors="replace")
        if code:
            raise RuntimeError(f"thinkloom {self.name} ended with exit code {code}: {printed[-TAIL_CHARS:]}")
        return printed


class Rewards:
    """A client of `/v1/reward`. Each request has its own connection: the server closes one that rests for long."""

    def __init__(self, address: str) -> None:
        self.address = address

    def of(self, rollouts: list[dict], settings: dict) -> list[dict]:
        """Returns the rewarded rows; raises for a row without a reward, which no response can cause."""
        connection = http.client.HTTPConnection(self.address, timeout=REQUEST_SECONDS)
        body = json.dumps({"rollouts": rollouts, "settings": settings})
        connection.request("POST", "/v1/reward", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"the reward server rejects a request ({response.status}): {text[:TAIL_CHARS]}")
        rows = json.loads(text)["rollouts"]
        for rollout, row in zip(rollouts, rows, strict=True):
            if row.get("error"):
                raise RuntimeError(f"the response to {rollout['question']!r} has no reward: {row['error']}")
        return rows
