"""A hub on this machine that takes uploads and hands them out again: `from local_hub import hub`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Hub:
    """address: what HF_ENDPOINT is set to.  files: what was committed, path -> content.

    commits: the branch and the message of each commit.  token: the only one that may write.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)
    token: str = "hf_none"

    @property
    def commit(self) -> str:
        """The hash of the latest commit."""
        return f"{len(self.commits):040x}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = re.fullmatch(r"/somebody/figures/resolve/[^/]+/(.+)", self.path)
            if file and file[1] in found.files:
                content = found.files[file[1]]
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": found.commit}
                self._send(content, 200, headers)
            elif re.match(r"/api/models/somebody/figures(/revision/[^/]+)?(\?|$)", self.path) and found.files:
                names = [{"rfilename": name} for name in found.files]
                self._say({"id": "somebody/figures", "sha": found.commit, "siblings": names})
            elif self.path.startswith("/api/models/somebody/figures/tree/") and found.files:
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in found.files.items()
                ]
                self._say(tree)
            else:
                self._say({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != f"Bearer {found.token}":
                self._say({"error": "Invalid credentials"}, 401, {"X-Error-Message": "Invalid credentials"})
            elif self.path.endswith("/repos/create"):
                self._say({"url": f"{found.address}/somebody/figures", "id": "somebody/figures"})
            elif "/branch/" in self.path:
                self._say({})
            elif "/preupload/" in self.path:
                files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
                self._say({"files": [{**file, "shouldIgnore": False} for file in files]})
            elif "/commit/" in self.path:
                branch = self.path.split("/commit/")[1].partition("?")[0]
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "header":
                        found.commits.append((branch, line["value"]["summary"]))
                    if line["key"] == "file":
                        found.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._say({"commitUrl": f"{found.address}/somebody/figures/commit/1", "commitOid": found.commit})
            else:  # the model card's check
                self._say({"errors": [], "warnings": []})

        def _say(self, answer: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self._send(json.dumps(answer).encode(), status, headers or {})

        def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()
