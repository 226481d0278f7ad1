#!/usr/bin/env python3
"""Checks that the model cache is shared with Hugging Face's own tools, in both directions.

    hub_cache.py THINKLOOM MODEL.gguf

Starts a small Hub on the loopback address. What thinkloom downloads must be found by huggingface_hub without a
network, and what huggingface_hub downloads must be found by thinkloom without a network.
"""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

ID = "tiny/llama"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """
[input]
paths = ["queries.jsonl"]
[policy]
model = "%s"
[judge]
backend = "none"
[sampling]
samples_per_mode = 1
think_on_tokens_max = 8
think_off_tokens_max = 8
"""
QUERY = '{"id": "add", "question": "What is 2 + 3?", "answer": "5", "kind": "numeric"}\n'


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository of one commit; large files have a SHA-256, small ones git's hash."""

    files = {}

    def log_message(self, *_):
        pass

    def entry(self, name):
        data = self.files[name]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry = {"type": "file", "path": name, "size": len(data), "oid": git}
        if name.endswith(".gguf"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        headers, status = {"X-Repo-Commit": COMMIT}, 200
        name = path.removeprefix(f"/{ID}/resolve/").partition("/")[2]
        if path.startswith(f"/api/models/{ID}/tree/"):
            body = json.dumps([self.entry(name) for name in self.files]).encode()
        elif path.startswith(f"/api/models/{ID}"):
            siblings = [{"rfilename": name} for name in self.files]
            body = json.dumps({"id": ID, "sha": COMMIT, "siblings": siblings, "gated": False}).encode()
        elif name in self.files:
            body, entry = self.files[name], self.entry(name)
            headers["ETag"] = '"%s"' % entry.get("lfs", entry)["oid"]
        else:
            status, body = 404, b"{}"
            headers["X-Error-Code"] = "EntryNotFound"
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def run(binary, folder, model, *command, **variables):
    (folder / "thinkloom.toml").write_text(CONFIG % model)
    (folder / "queries.jsonl").write_text(QUERY)
    environment = {**os.environ, **variables}
    done = subprocess.run([binary, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    return done.stdout


def main():
    binary, model = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    Hub.files = {"README.md": b"# tiny", "tiny.gguf": model.read_bytes()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    name = f"{ID}:tiny.gguf"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ours, theirs = folder / "ours", folder / "theirs"
        os.environ.update(HF_HOME=str(folder / "home"), HF_HUB_OFFLINE="0")
        # Read when the package is imported.
        from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

        run(binary, folder, name, "run", HF_ENDPOINT=endpoint, HF_HUB_CACHE=str(ours))
        scan = scan_cache_dir(ours)
        assert not scan.warnings, scan.warnings
        (repo,) = scan.repos
        (revision,) = repo.revisions
        assert (repo.repo_id, revision.commit_hash, set(revision.refs)) == (ID, COMMIT, {"main"}), repo
        assert [file.file_name for file in revision.files] == ["tiny.gguf"], revision.files
        snapshot = pathlib.Path(snapshot_download(ID, cache_dir=ours, local_files_only=True))
        assert (snapshot / "tiny.gguf").read_bytes() == model.read_bytes()
        assert hf_hub_download(ID, "tiny.gguf", cache_dir=ours, local_files_only=True) == str(snapshot / "tiny.gguf")

        hf_hub_download(ID, "tiny.gguf", cache_dir=theirs, endpoint=endpoint)
        variables = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(theirs), "HF_ENDPOINT": "http://127.0.0.1:1"}
        said = run(binary, folder, name, "doctor", **variables)
        assert COMMIT in said and str(theirs) in said, said
        # A blob is the same file under the same name, whoever downloaded it.
        blobs = [sorted(path.name for path in cache.glob("*/blobs/*")) for cache in (ours, theirs)]
        assert blobs[0] == blobs[1], blobs
    server.shutdown()
    print("the model cache is shared with huggingface_hub")


if __name__ == "__main__":
    main()
