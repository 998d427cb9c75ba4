"""A call between two browsers through the server, and what must be true of it."""

import json
import pathlib

from net import SERVER_NAME, run
from server import PASSWORD, PORT, TLS_PORT, USER

HERE = pathlib.Path(__file__).resolve().parent
MEGABYTES_10 = 10 * 1024 * 1024


def scenario(net, kind, seconds=100, **wanted):
    """Runs a scenario of scenario.mjs and returns what it saw."""
    for side in ("left", "right"):
        if side in wanted:
            wanted[side] = net.name(wanted[side])
    words = json.dumps({"kind": kind, "seconds": seconds, **wanted})
    done = run(["node", str(HERE / "scenario.mjs"), words], timeout=seconds + 30, check=False)
    assert done.returncode == 0, done.stderr[-900:]
    return json.loads(done.stdout.splitlines()[-1])


def ice(net, transport="udp", user=USER, password=PASSWORD, port=PORT):
    return [{"urls": f"turn:{net.v4('server')}:{port}?transport={transport}", "username": user, "credential": password}]


def secure_ice(host=SERVER_NAME, port=TLS_PORT):
    return [{"urls": f"turns:{host}:{port}?transport=tcp", "username": USER, "credential": PASSWORD}]


def check_relayed(result, transport):
    assert result["states"] == ["connected", "connected"], (result["states"], result["errors"])
    for side in result["stats"]:
        assert side["local"] == side["remote"] == "relay", side
        assert side["relayProtocol"] == transport, side


def check_digests(result, volume):
    """Each side got what the other one sent."""
    for got, sent in ((result["gotRight"], result["sentLeft"]), (result["gotLeft"], result["sentRight"])):
        assert got["bytes"] == volume, f"{got['bytes']} bytes came"
        assert got["sha256"] == sent, "what came is not what was sent"
    print(f"   {volume >> 20} MiB each way at once in {result['seconds']:.1f} s")


def check_restart(result):
    """After an ICE restart the call has a new relayed address, and bytes go over it."""
    again = result["restart"]
    assert again["before"] != again["after"], again
    assert again["got"]["sha256"] == again["sent"], again
