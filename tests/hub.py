"""A stand-in for the Hub: as much of its HTTP interface as pushing and downloading take."""

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

TOKENS = {"hf_ours": "owner", "hf_theirs": "other"}


@dataclass
class Hub:
    """What the Hub knows, and what is to go wrong.

    Attributes:
        repositories: Name -> branch or commit -> path -> content.
        private: Names of those that only their owner sees.
        objects: Large files by their SHA-256.
        requests: How often each method and kind of address was asked.
        cut: Bytes after which the next download of a large file breaks off; 0 for never.
        refuse_uploads: How many uploads of large files fail.
        ranges: What was asked for of large files.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    refuse_uploads: int = 0
    ranges: list[str | None] = field(default_factory=list)

    def commit(self, name: str, branch: str, files: dict[str, bytes]) -> str:
        told = json.dumps({path: hashlib.sha256(c).hexdigest() for path, c in files.items()})
        sha = hashlib.sha1(f"{name} {told}".encode()).hexdigest()
        self.repositories[name][sha] = dict(files)
        self.heads[name, branch] = sha
        return sha

    def sha_of(self, name: str, revision: str) -> str | None:
        found = self.heads.get((name, revision), revision)
        return found if found in self.repositories[name] else None


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".png"))


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self, content: Any = None, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.sent()
        hub, path = self.hub, urlsplit(self.path).path
        who = TOKENS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if who is None:
            return self.answer({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or who
            name = f"{owner}/{asked['name']}"
            if owner != who:
                return self.answer({"error": "You have no right to create this"}, 403)
            if name in hub.repositories:
                return self.answer({"error": "You already created this", "url": name}, 409)
            hub.repositories[name] = {}
            hub.commit(name, "main", {".gitattributes": b""})
            if asked.get("private") or asked.get("visibility") == "private":
                hub.private.add(name)
            return self.answer({"url": f"http://{self.headers['Host']}/{name}"})
        name, action, revision = self.parts(path)
        if name.partition("/")[0] != who:
            return self.answer({"error": "You have no right to write here"}, 403)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.answer({"transfer": "basic", "objects": list(self.uploads(body))})
        if action == "branch":
            if (name, revision) in hub.heads:
                return self.answer({"error": "exists"}, 409)
            hub.heads[name, revision] = hub.heads[name, "main"]
            return self.answer({})
        if action == "preupload":
            asked = json.loads(body)["files"]
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if is_large(each["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for each in asked
            ]
            return self.answer({"files": modes})
        assert action == "commit", path
        sha = self.take_commit(name, revision, body)
        url = f"http://{self.headers['Host']}/{name}/commit/{sha}"
        return self.answer({"commitUrl": url, "commitOid": sha, "success": True})

    def uploads(self, body: bytes) -> Iterator[dict[str, Any]]:
        for each in json.loads(body)["objects"]:
            known = each["oid"] in self.hub.objects
            href = f"http://{self.headers['Host']}/lfs/{each['oid']}"
            yield each if known else {**each, "actions": {"upload": {"href": href, "header": {}}}}

    def take_commit(self, name: str, revision: str, body: bytes) -> str:
        hub = self.hub
        files = dict(hub.repositories[name][hub.heads[name, revision]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        return hub.commit(name, revision, files)

    def do_PUT(self) -> None:
        content = self.sent()
        self.hub.requests["PUT"] += 1
        if self.hub.refuse_uploads:
            self.hub.refuse_uploads -= 1
            return self.answer({"error": "try later"}, 400)
        self.hub.objects[self.path.rpartition("/")[2]] = content
        return self.answer({})

    def sent(self) -> bytes:
        """What was sent, in one piece or in chunks."""
        if (length := self.headers.get("Content-Length")) is not None:
            return self.rfile.read(int(length))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        name, action, revision = self.parts(path)
        who = TOKENS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        hidden = name in self.hub.private and who != name.partition("/")[0]
        if name not in self.hub.repositories or hidden:
            return self.answer({}, 404 if who else 401, X_Error_Code="RepoNotFound")
        revision, _, file = revision.partition("//")
        if (sha := self.hub.sha_of(name, revision or "main")) is None:
            return self.answer({}, 404, X_Error_Code="RevisionNotFound")
        files = self.hub.repositories[name][sha]
        if action in ("", "revision"):
            siblings = [{"rfilename": each} for each in files]
            return self.answer({"id": name, "sha": sha, "siblings": siblings, "tags": []})
        if action == "tree":
            return self.answer([entry(each, content) for each, content in files.items()])
        assert action == "resolve", path
        if file not in files:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        return self.send_file(file, files[file], sha)

    def send_file(self, file: str, content: bytes, sha: str) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest() if is_large(file) else oid(content)}"'
        headers = {"ETag": etag, "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        asked, status, whole = self.headers.get("Range"), 200, len(content)
        if self.command == "GET" and file.endswith(".safetensors"):
            self.hub.ranges.append(asked)
        if asked is not None:
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            content, status = content[first:], 206
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
        if self.command == "GET" and self.hub.cut and file.endswith(".safetensors"):
            cut, self.hub.cut = self.hub.cut, 0
            self.send_response(status)
            for header, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(content[:cut])
            self.close_connection = True
            return None
        return self.answer(content, status, **headers)

    def parts(self, path: str) -> tuple[str, str, str]:
        """Repository, what is asked of it, and its revision, for a file followed by //path."""
        words = [unquote(word) for word in path.strip("/").split("/")]
        if words[0] == "api":
            name, action = "/".join(words[2:4]), words[4] if len(words) > 4 else ""
            return name, action, "/".join(words[5:])
        return "/".join(words[:2]), words[2], f"{words[3]}//{'/'.join(words[4:])}"


def oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = oid(content)
    if is_large(path):
        sha = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
    return found


@contextmanager
def serve() -> Iterator[tuple[Hub, str]]:
    """Yield an empty Hub and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def in_place_of_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """Yield an empty Hub that huggingface_hub takes for the Hub, its cache in a folder."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    disable_progress_bars()
    monkeypatch.setenv("HF_TOKEN", "hf_ours")
    with serve() as (hub, address):
        point_to(monkeypatch, address)
        yield hub


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Do what HF_ENDPOINT does where huggingface_hub is not imported yet."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    file = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + file)
