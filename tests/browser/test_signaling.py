"""Clients of every signaling dialect, as they are written for other servers: two browsers call each other through ours alone."""

import json
import pathlib

from calls import ice
from harness import test
from net import run
from server import TLS_PORT, start_server

HERE = pathlib.Path(__file__).resolve().parent


@test(240)
def every_signaling_dialect_makes_a_relayed_call(net):
    host = f"{net.v4('server')}:8080"
    start_server(net, {
        "listen": {"tls": [f"{net.v4('server')}:{TLS_PORT}"]},
        "tls": {"self_signed": True},
        "http": {"listen": [host], "rooms": "open", "origins": ["http://localhost"]},
    })
    words = {"left": net.name("alice"), "right": net.name("bob"), "host": host, "secure": f"https://{net.v4('server')}:{TLS_PORT}",
             "iceServers": ice(net)}
    done = run(["node", str(HERE / "signaling.mjs"), json.dumps(words)], timeout=220, check=False)
    assert done.returncode == 0, done.stderr[-900:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["calls"]) == 13, list(result["calls"])
    for name, call in result["calls"].items():
        assert call.get("heard") == ["pong", "ping"], (name, call)
        assert call["pairs"] == [["relay", "relay"]] * 2, (name, call)
        assert not call["errors"], (name, call)
        assert call.get("engine") == call.get("wantedEngine"), (name, call)
    assert len(result["demos"]) == 3
    for name, demo in result["demos"].items():
        assert demo == {"complaints": []}, (name, demo)
