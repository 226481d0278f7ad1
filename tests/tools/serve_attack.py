#!/usr/bin/env python3
"""Runs honest clients of `thinkloom serve` next to attackers that try to make the server fail.

    serve_attack.py --base-url http://127.0.0.1:8000 [--clients 200] [--attackers 10] [--seconds 60] [--pid PID]

Two phases of --seconds each: the honest clients alone, then together with the attackers. Prints the errors of the honest
clients, their median and longest wait in each phase, the replies to the attackers, the replies of /health, and the peak
memory of the process. Starts no server. Exits with 1 if an honest client received an error, and with 2 if a request never
returned and the tool had to end itself.
"""
import argparse
import collections
import http.client
import json
import multiprocessing
import os
import queue
import random
import socket
import statistics
import sys
import threading
import time
import urllib.parse

TIMEOUT_S = 300
# How long an attacker waits for one answer, and for how long it holds connections that it does not use as it should.
PATIENCE_S = 20
HOLD_S = 40
# How long after its end a phase waits for those that take part in it.
REST_S = 30


class Client:
    """A connection that is kept, and made again where the server ended it before it took a request."""

    def __init__(self, address, timeout_s=TIMEOUT_S):
        self.address, self.timeout_s = address, timeout_s
        self.connection = None

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        for is_last in (False, True):
            is_kept = self.connection is not None
            if not is_kept:
                self.connection = http.client.HTTPConnection(*self.address, timeout=self.timeout_s)
            try:
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                return response.status, response.read()
            except Exception:
                self.close()
                # An idle connection may be ended at any time; a new one may not.
                if is_last or not is_kept:
                    raise
        raise AssertionError("not reached")

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def chat(content, **more):
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 4, **more})


def with_schema(schema):
    return chat("Say it.", max_tokens=64,
                response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})


def recursive():
    """A schema that begins with itself."""
    name = random.choice("abcdefgh")
    schema = {"$defs": {name: {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}}, "$ref": f"#/$defs/{name}"}
    return "/v1/chat/completions", with_schema(schema)


def chain():
    """A chain of 2,000 references."""
    start = random.randrange(1000)
    definitions = {f"n{start + index}": {"$ref": f"#/$defs/n{start + index + 1}"} for index in range(2000)}
    definitions[f"n{start + 2000}"] = {"type": "integer"}
    return "/v1/chat/completions", with_schema({"$defs": definitions, "$ref": f"#/$defs/n{start}"})


def diamond():
    """Alternatives of alternatives, 1.5 to 4 kB."""
    levels, ways = random.choice([(24, 2), (20, 3), (12, 5), (30, 2)])
    definitions = {f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * ways} for level in range(levels)}
    definitions[f"d{levels}"] = {"type": random.choice(["string", "integer", "object"])}
    return "/v1/chat/completions", with_schema({"$defs": definitions, "$ref": "#/$defs/d0"})


def alternatives():
    """Many alternatives that begin alike."""
    ways = [{"type": "object", "properties": {"a": {"type": "string"}, f"b{way}": {"type": "integer"}}}
            for way in range(random.randrange(20, 60))]
    return "/v1/chat/completions", with_schema({"type": "array", "items": {"anyOf": ways}})


def long_chat():
    """12 to 20 MB of text in a chat."""
    part = random.choice(["word ", "x", " ", "\n", "\u4f60", "a1-", "<|im_start|>"])
    size = random.randrange(12_000_000, 20_000_000)
    return "/v1/chat/completions", chat(part * (size // len(part.encode())))


def near_limit():
    """Text that is just short enough to be looked at."""
    part = random.choice(["word ", "x", " ", "\u4f60", "a1-"])
    return "/v1/chat/completions", chat(part * (random.randrange(60_000, 260_000) // len(part.encode())))


def many_messages():
    return "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": ""}] * 300_000, "max_tokens": 4})


def group(question, completions, completion):
    return json.dumps({"groups": [{"kind": "math", "gold": "4", "question": question, "completions": [completion] * completions}]})


def rewards():
    """Large bodies of the reward rule."""
    kind = random.randrange(4)
    if kind == 0:
        return "/v1/reward", group("q" * 1_000_000, 400, "<answer>4</answer>")
    if kind == 1:
        return "/v1/reward", group("What is 2 + 2?", 20_000, "<think_off><answer>4</answer>" + " x" * 400)
    if kind == 2:
        return "/v1/reward", json.dumps({"groups": [{"tests": [{"": 0}] * 1_000_000, "completions": ["4"]}]})
    rows = [{"query_id": "a", "mode": "think_on", "correct": True, "format_ok": True, "x": "y" * 1000}] * 20_000
    return "/v1/reward", json.dumps({"rollouts": rows})


def numbers():
    """A schema of 2,000 objects with a number each, for several responses at once."""
    start = random.randrange(1000)
    objects = {f"o{start + index}": {"type": "object", "properties": {"v": {"type": "number"}}, "required": ["v"],
                                     "additionalProperties": False} for index in range(2000)}
    # No text with all of them is short enough, which is refused; with none demanded, each step has 2,000 ways to go on.
    demanded = random.choice([[], [], list(objects)])
    schema = {"type": "object", "properties": objects, "required": demanded, "additionalProperties": False}
    body = json.loads(with_schema(schema))
    return "/v1/chat/completions", json.dumps({**body, "n": 8})


def head_of(address, path, length, host=None):
    return (f"POST {path} HTTP/1.1\r\nHost: {host or '{}:{}'.format(*address)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


def opened(address, count):
    return [socket.create_connection(address, timeout=PATIENCE_S) for _ in range(count)]


def status_of(connection):
    """The status of an answer, or how the connection ended."""
    try:
        begun = connection.recv(64)
    except OSError as fault:
        return type(fault).__name__
    return begun.split(b" ")[1].decode() if begun.startswith(b"HTTP/1.1 ") else "cut off"


def each_told(connections):
    return ", ".join(sorted({status_of(connection) for connection in connections}))


def trickle(address, end):
    """A large body, of which much comes at once and the rest at 64 KiB/s."""
    size, [connection] = 60 << 20, opened(address, 1)
    with connection:
        try:
            connection.sendall(head_of(address, "/v1/reward", size) + b'{"rollouts": [' + b" " * random.choice([1 << 20, 48 << 20]))
            while time.monotonic() < end:
                connection.sendall(b" " * (64 << 10))
                time.sleep(1)
        except OSError:
            pass
        return each_told([connection]) if time.monotonic() < end else "went on to the end"


def drip(address, end):
    """Many small bodies, a byte every few seconds."""
    connections = opened(address, 60)
    try:
        for connection in connections:
            connection.sendall(head_of(address, "/v1/chat/completions", 10_000))
        while time.monotonic() < end:
            for connection in connections:
                connection.sendall(b" ")
            time.sleep(3)
        return "went on to the end"
    except OSError:
        return "cut off"
    finally:
        for connection in connections:
            connection.close()


def refused(address, end):
    """Requests that are refused, without the body that they announce."""
    connections = opened(address, 60)
    try:
        for connection in connections:
            connection.sendall(head_of(address, random.choice(["/v1/chat/completions", "/nothing"]), 9, host="x"))
        for connection in connections:
            connection.settimeout(max(0.1, min(PATIENCE_S, end - time.monotonic())))
        return each_told(connections)
    finally:
        for connection in connections:
            connection.close()


def unread(address, end):
    """Small bodies with answers of 17 MB, which are not read, or a little at a time."""
    body, drop = json.dumps({"rollouts": [0] * 65_536}).encode(), random.choice([0, 2000])
    connections = []
    try:
        for _ in range(10):
            connection = socket.socket()
            connections.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(PATIENCE_S)
            connection.connect(address)
            connection.sendall(head_of(address, "/v1/reward", len(body)) + body)
        while time.monotonic() < end:
            time.sleep(1)
            for connection in connections:
                if drop:
                    connection.settimeout(0.01)
                    try:
                        connection.recv(drop)
                    except TimeoutError:
                        pass
        return "went on to the end"
    except OSError as fault:
        return type(fault).__name__
    finally:
        for connection in connections:
            connection.close()


# These use connections as no honest client does; the others are requests.
RAW_ATTACKS = [trickle, drip, refused, unread]
ATTACKS = RAW_ATTACKS + [numbers, recursive, chain, diamond, alternatives, long_chat, near_limit, many_messages, rewards]


def attack(address, seconds, attacks, index, answers):
    client, turn, seen, end = Client(address, PATIENCE_S), index, collections.Counter(), time.monotonic() + seconds
    random.seed(index)
    while time.monotonic() < end:
        make, turn = attacks[turn % len(attacks)], turn + 1
        try:
            if make in RAW_ATTACKS:
                answer = make(address, min(end, time.monotonic() + HOLD_S))
            else:
                answer, _ = client.ask("POST", *make())
        except Exception as fault:
            client.close()
            answer = type(fault).__name__
        seen[f"{make.__name__} {answer}"] += 1
    answers.put(dict(seen))


class Phase:
    def __init__(self, address, seconds):
        self.address, self.end = address, time.monotonic() + seconds
        self.lock = threading.Lock()
        self.waits, self.health, self.errors = [], [], []
        self.answers = collections.Counter()

    def goes_on(self):
        return time.monotonic() < self.end

    def honest(self, index):
        client, turn = Client(self.address), 0
        # Not all at the same moment.
        time.sleep(random.random())
        while self.goes_on():
            started, turn = time.monotonic(), turn + 1
            try:
                status, body = client.ask("POST", "/v1/chat/completions", chat(f"What is {index} + {turn}?"))
                error = None if status == 200 else f"{status} {body[:200]!r}"
            except Exception as fault:  # all kinds count
                error = repr(fault)
            waited = time.monotonic() - started
            with self.lock:
                self.waits.append(waited)
                if error:
                    self.errors.append(error)

    def look(self):
        client = Client(self.address)
        while self.goes_on():
            started = time.monotonic()
            try:
                status, _ = client.ask("GET", "/health")
                error = None if status == 200 else f"/health {status}"
            except Exception as fault:
                error = "/health " + repr(fault)
            with self.lock:
                self.health.append(time.monotonic() - started)
                if error:
                    self.errors.append(error)
            time.sleep(0.1)

    def run(self, clients, attackers, attacks, seconds):
        threads = [threading.Thread(target=self.honest, args=(index,), daemon=True) for index in range(clients)]
        threads.append(threading.Thread(target=self.look, daemon=True))
        answers = multiprocessing.Queue()
        # In processes of their own, so that making large bodies does not hold up the honest.
        processes = [multiprocessing.Process(target=attack, args=(self.address, seconds, attacks, index, answers),
                                             daemon=True)
                     for index in range(attackers)]
        for one in processes + threads:
            one.start()
        last = self.end + PATIENCE_S + REST_S
        try:
            for _ in processes:
                self.answers.update(answers.get(timeout=max(0.1, last - time.monotonic())))
        except queue.Empty:
            print("  an attacker did not come back")
        for one in processes:
            one.join(max(0.1, last - time.monotonic()))
            if one.is_alive():
                one.kill()
        last = max(last, self.end + TIMEOUT_S + REST_S)
        for one in threads:
            one.join(max(0.1, last - time.monotonic()))
            if one.is_alive():
                with self.lock:
                    self.errors.append("an honest client did not come back")

    def report(self, name):
        waits, health = self.waits or [0.0], self.health or [0.0]
        print(f"{name}: {len(self.waits)} requests of the honest, {len(self.errors)} errors, wait median "
              f"{statistics.median(waits):.2f} s, longest {max(waits):.2f} s; /health longest {max(health):.3f} s", flush=True)
        for error, count in collections.Counter(self.errors).most_common(5):
            print(f"  {count} x {error}")
        for answer, count in sorted(self.answers.items()):
            print(f"  attack {answer}: {count}")


def peak_mib(pid):
    try:
        status = open(f"/proc/{pid}/status", encoding="ascii")
    except FileNotFoundError:
        raise SystemExit(f"process {pid} has ended") from None
    with status:
        values = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmHWM", "VmRSS"))}
    return int(values["VmHWM"]) / 1024, int(values["VmRSS"]) / 1024


def give_up():
    print("this took too long: something does not come back", file=sys.stderr, flush=True)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--attackers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--attacks", default=",".join(attack.__name__ for attack in ATTACKS), help="which, by name")
    arguments = parser.parse_args()
    attacks = [attack for attack in ATTACKS if attack.__name__ in arguments.attacks.split(",")]
    url = urllib.parse.urlsplit(arguments.base_url)
    address = (url.hostname, url.port or 80)
    failed = False
    watchdog = threading.Timer(2 * (arguments.seconds + TIMEOUT_S + 2 * REST_S), give_up)
    watchdog.daemon = True
    watchdog.start()
    for name, attackers in (("without attackers", 0), ("with attackers", arguments.attackers)):
        phase = Phase(address, arguments.seconds)
        phase.run(arguments.clients, attackers, attacks, arguments.seconds)
        phase.report(name)
        failed |= bool(phase.errors)
        if arguments.pid:
            print("  memory: most {:.0f} MiB, now {:.0f} MiB".format(*peak_mib(arguments.pid)))
    if arguments.pid:
        time.sleep(5)
        print("memory 5 s later: most {:.0f} MiB, now {:.0f} MiB".format(*peak_mib(arguments.pid)))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
