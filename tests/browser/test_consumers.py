"""Programs that others wrote to ask for iceServers ask ours, unmodified, and what they make of the answer gets a relay."""

from calls import scenario
from harness import test
from server import start_server

KEY = "key-of-the-shop-0123456789"


def start(net, **key):
    base = f"{net.v4('server')}:8080"
    start_server(net, {"http": {"listen": [base], "keys": [{"name": "shop", "key": KEY, "quota": 50, **key}]}})
    return f"http://{base}"


def matrix(net, browser):
    base = start(net, origins=["*"], ttl="20m")
    found = scenario(net, "matrix", left="alice", leftBrowser=browser, baseUrl=base, accessToken=KEY)
    servers = found["configuration"]["iceServers"]
    assert len(servers) == 1 and servers[0]["username"] and servers[0]["credential"], servers
    assert 1100 < (found["expiry"] - found["now"]) / 1000 <= 1200, found
    assert any(" typ relay " in candidate for candidate in found["candidates"]), found


@test(150)
def chromium_runs_the_matrix_sdk(net):
    matrix(net, "chromium")


@test(150)
def firefox_runs_the_matrix_sdk(net):
    matrix(net, "firefox")
