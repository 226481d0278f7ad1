#!/usr/bin/env python3
"""A judge API that fails on purpose: an OpenAI-shaped `/chat/completions` on the loopback address.

    faulty_judge.py --rate-429 0.10 --retry-after 1 --rate-500 0.05 --rate-empty 0.02 --latency-ms 5 --seed 0

The first line on stdout is `listening on http://127.0.0.1:PORT`. The fault of the n-th request of a body is a function
of (seed, body, n) alone, and the text of a good reply a function of the body alone, so that runs can be compared
whatever the order of their requests. `GET /stats` gives JSON counts; SIGTERM and SIGINT print the same and stop.
With `--key`, requests without that bearer token get 401. Standard library only; no header is ever logged.
"""

import argparse
import collections
import hashlib
import http.server
import json
import signal
import sys
import threading
import time

OPENINGS = {
    True: [
        "Several quantities have to be related before the result can be found",
        "The question chains more than one step, and each depends on the one before",
        "A plausible shortcut leads astray here, so the conditions must be checked one by one",
        "Nothing here can simply be recalled; it must be derived",
    ],
    False: [
        "This asks for one fact that can be recalled at once",
        "A single simple operation gives the result",
        "The wording points to the result, and nothing has to be derived",
        "There is nothing to check beyond one direct look-up",
    ],
}
CLOSINGS = {True: "Reasoning first is worth its length.", False: "Reasoning first would only add length."}


def fraction(*parts):
    """Returns a number in 0..1 that is a function of its arguments."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def justification(body, body_hash):
    """Returns the text of a good reply: a function of the request's body."""
    messages = body.get("messages") if isinstance(body, dict) else None
    last = str(messages[-1].get("content", "")) if isinstance(messages, list) and messages else ""
    reasoning = "reasoning first suits" in last or "Chosen way: reasoning first" in last
    openings = OPENINGS[reasoning]
    opening = openings[int(body_hash[:8], 16) % len(openings)]
    return f"{opening} (case {body_hash[8:16]}). {CLOSINGS[reasoning]}"


class Faults:
    """Counts requests per body and decides their faults; shared by all connections."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.seen = collections.Counter()
        self.outcomes = collections.Counter()
        self.in_flight = 0
        self.in_flight_max = 0
        self.log = open(options.log, "a", encoding="utf-8") if options.log else None

    def enter(self, body_hash):
        with self.lock:
            self.seen[body_hash] += 1
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
            return self.seen[body_hash]

    def leave(self, body_hash, number, outcome):
        with self.lock:
            self.in_flight -= 1
            self.outcomes[outcome] += 1
            if self.log:
                self.log.write(json.dumps({"body": body_hash, "n": number, "outcome": outcome}) + "\n")
                self.log.flush()

    def outcome(self, body_hash, number):
        draw = fraction(self.options.seed, body_hash, number)
        for name, rate in (
            ("429", self.options.rate_429),
            ("500", self.options.rate_500),
            ("empty", self.options.rate_empty),
        ):
            if draw < rate:
                return name
            draw -= rate
        return "ok"

    def stats(self):
        with self.lock:
            counts = {name: self.outcomes[name] for name in ("ok", "429", "500", "empty", "bad_request", "bad_key")}
            return {
                "requests": sum(self.outcomes.values()),
                **counts,
                "distinct_bodies": len(self.seen),
                "in_flight_max": self.in_flight_max,
            }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet; two would meet Nagle's algorithm and cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    server_version = "faulty-judge"
    faults = None

    def log_message(self, *_):
        pass

    def send(self, status, value, headers=()):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def do_GET(self):
        if self.path == "/stats":
            self.send(200, self.faults.stats())
        else:
            self.send(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.endswith("/chat/completions"):
            self.send(404, {"error": {"message": "no such path"}})
            return
        body_hash = hashlib.sha256(raw).hexdigest()
        number = self.faults.enter(body_hash)
        outcome = "broken_pipe"
        try:
            outcome = self.answer(raw, body_hash, number)
        except OSError:
            self.close_connection = True
        finally:
            self.faults.leave(body_hash, number, outcome)

    def answer(self, raw, body_hash, number):
        options = self.faults.options
        if options.key and self.headers.get("Authorization") != f"Bearer {options.key}":
            self.send(401, {"error": {"message": "Authentication Fails", "code": "invalid_api_key"}})
            return "bad_key"
        try:
            body = json.loads(raw)
            prompt_tokens = sum(len(str(message["content"])) for message in body["messages"]) // 4
        except (ValueError, KeyError, TypeError):
            self.send(400, {"object": "error", "message": "invalid body", "type": "BadRequestError", "code": 400})
            return "bad_request"
        if options.latency_ms > 0:
            time.sleep(options.latency_ms / 1000)
        outcome = self.faults.outcome(body_hash, number)
        if outcome == "429":
            headers = [("Retry-After", f"{options.retry_after:g}")] if options.retry_after > 0 else []
            self.send(429, {"error": {"message": "rate limit reached", "code": "rate_limit_exceeded"}}, headers)
            return outcome
        if outcome == "500":
            self.send(500, {"error": {"message": "internal error", "type": "server_error"}})
            return outcome
        text = "" if outcome == "empty" else justification(body, body_hash)
        hits = prompt_tokens // 2
        completion_tokens = len(text) // 4
        self.send(
            200,
            {
                "id": f"chatcmpl-{body_hash[:16]}",
                "object": "chat.completion",
                "created": 0,
                "model": f"{body.get('model', 'judge')}-faulty",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                ],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "prompt_cache_hit_tokens": hits,
                    "prompt_cache_miss_tokens": prompt_tokens - hits,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            },
        )
        return outcome


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        # A client that was killed is part of the test, not an error.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--rate-429", type=float, default=0.0)
    parser.add_argument("--retry-after", type=float, default=1.0, help="seconds, 0: no header")
    parser.add_argument("--rate-500", type=float, default=0.0)
    parser.add_argument("--rate-empty", type=float, default=0.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", default="", help="bearer token to demand")
    parser.add_argument("--log", default="", help="JSON lines, one per request")
    options = parser.parse_args()

    Handler.faults = Faults(options)
    server = Server(("127.0.0.1", options.port), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the serving loop, which this handler interrupts: it must run beside it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    print(json.dumps(Handler.faults.stats()), flush=True)


if __name__ == "__main__":
    main()
