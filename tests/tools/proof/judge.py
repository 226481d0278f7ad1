"""An OpenAI-style judge on the loopback address whose justifications come from the rules of `texts.justify`.

It stands in for a judge model and sees what that would see: the question and the chosen way. If thinkloom's checks
reject a text, the next reply of the conversation has another wording.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import texts

MODEL = "rules"
# A wording after a rejected one differs in both of its halves; repeated steps reach all of the 49 wordings.
VARIANT_STEP = 8


def analysis(messages: list[dict]) -> str:
    """The justification that a conversation asks for."""
    request = next(message["content"] for message in messages if message["role"] == "user")
    mode = "think_on" if request.startswith("Chosen way: reasoning first") else "think_off"
    question = re.search(r"Question:\n(.*)\n\nReply with the json object", request, re.DOTALL)[1]
    rejected = sum(message["role"] == "assistant" for message in messages)
    return texts.justify(question, mode, first_variant(question) + VARIANT_STEP * rejected)


def first_variant(question: str) -> int:
    """A wording that depends on the question alone."""
    return hashlib.sha256(question.encode()).digest()[0]


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = json.dumps({"analysis": analysis(request["messages"])})
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 0, "completion_tokens": len(content.split()), "total_tokens": len(content.split())}
        reply = {"id": "rules", "object": "chat.completion", "created": 0, "model": request["model"]}
        body = json.dumps({**reply, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


@contextmanager
def serve() -> Iterator[str]:
    """Serves until the block ends; gives the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
