"""WebRTC libraries that were not written here: how each is started, and what each must have achieved.

Each script makes two peer connections that may only use relayed candidates, sends messages of growing size both ways
over a data channel, and prints one JSON object: the library, the kinds of its candidates, and how many messages arrived
as they had been sent.
"""

import functools
import json
import os
import pathlib
import subprocess
import urllib.parse

from server import PASSWORD, PORT, ROOT, USER

HERE = pathlib.Path(__file__).resolve().parent
# Debian's own, which has GStreamer's bindings; another python3 may come first in PATH.
DEBIAN_PYTHON = "/usr/bin/python3"


@functools.cache
def python():
    """The interpreter of a virtual environment under target/, made when it is not there or out of date."""
    place = ROOT / "target/interop-venv"
    interpreter, wanted = place / "bin/python", HERE / "requirements.txt"
    stamp = place / "requirements.txt"
    if not (stamp.exists() and stamp.read_text() == wanted.read_text()):
        subprocess.run(["python3", "-m", "venv", "--clear", place], check=True, timeout=60)
        subprocess.run([interpreter, "-m", "pip", "-q", "--disable-pip-version-check", "install", "-r", wanted], check=True, timeout=300)
        stamp.write_text(wanted.read_text())
    return str(interpreter)


@functools.cache
def pion():
    """The program of pion/, built from Debian's packages alone."""
    source, program = HERE / "pion/main.go", ROOT / "target/interop/pion"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        env = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
        done = subprocess.run(["go", "build", "-o", program, source], env=env, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"go build: {done.stderr[-900:]}"
    return str(program)


def pair(net, *argv, ca=None, timeout=60):
    """Runs a script on alice's host and checks what it says."""
    env = os.environ | ({"SSL_CERT_FILE": ca, "NODE_EXTRA_CA_CERTS": ca} if ca else {})
    done = net.exec("alice", *argv, env=env, timeout=timeout)
    assert done.returncode == 0, done.stderr[-900:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["candidates"] == ["relay"], result
    assert result["there"] == result["back"] == result["wanted"], result
    return result


def turn_url(net, transport):
    return f"turn:{net.v4('server')}:{PORT}?transport={transport}"


def aiortc(net, url, ca=None):
    pair(net, python(), str(HERE / "aiortc_pair.py"), url, USER, PASSWORD, ca=ca)


def werift(net, url, ca=None):
    pair(net, "node", str(HERE / "node/werift.mjs"), url, USER, PASSWORD, ca=ca)


def libjuice(net, user=USER, password=PASSWORD):
    pair(net, "node", str(HERE / "node/libjuice.mjs"), net.v4("server"), str(PORT), user, password)


def go_pion(net, url, ca=None):
    pair(net, pion(), url, USER, PASSWORD, ca=ca)


def webrtcbin(net, transport):
    place = f"{USER}:{urllib.parse.quote(PASSWORD)}@{net.v4('server')}:{PORT}"
    pair(net, DEBIAN_PYTHON, str(HERE / "webrtcbin_pair.py"), f"turn://{place}?transport={transport}")
