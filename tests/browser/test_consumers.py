"""Programs that others wrote to ask for iceServers ask ours, unmodified, and what they make of the answer gets a relay."""

import pathlib
import re
import time

from calls import scenario
from harness import test
from server import scratch, start_server
from test_ice import KEY, ask


def start(net, **key):
    base = f"{net.v4('server')}:8080"
    start_server(net, {"http": {"listen": [base], "keys": [{"name": "shop", "key": KEY, "quota": 50, **key}]}})
    return f"http://{base}"


def matrix(net, browser):
    base = start(net, origins=["*"], ttl="20m")
    found = scenario(net, "matrix", left="alice", leftBrowser=browser, seconds=60,
                     baseUrl=base, accessToken=KEY)
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


def whip(net, browser):
    start(net)
    bearer = {"Authorization": f"Bearer {KEY}"}
    links = {method: ask(net, method, "/v1/ice-servers", headers=bearer, status=status)[1]
             for method, status in (("GET", 200), ("OPTIONS", 204))}
    found = scenario(net, "whip", seconds=60, left="alice", leftBrowser=browser, links=links)
    for method, result in found.items():
        assert len(result["configuration"]["iceServers"]) == len(links[method]) > 2, result
        assert any(" typ relay " in candidate for candidate in result["candidates"]), (method, result)


@test(90)
def chromium_publishes_with_the_links_of_a_whip_endpoint(net):
    whip(net, "chromium")


@test(90)
def firefox_publishes_with_the_links_of_a_whip_endpoint(net):
    whip(net, "firefox")


JANUS = """
general: {
    configs_folder = "%(folder)s"
    plugins_folder = "%(libraries)s/plugins"
    transports_folder = "%(libraries)s/transports"
    debug_level = 5
    protected_folders = []
}
certificates: { dtls_timeout = 100 }
nat: {
    turn_rest_api = "%(api)s"
    turn_rest_api_key = "%(key)s"
    turn_rest_api_method = "%(method)s"
    allow_force_relay = true
}
plugins: { disable = "%(plugins)s" }
transports: { disable = "%(transports)s" }
events: { broadcast = false }
"""
JANUS_HTTP = """
general: { http = true, port = 8088, base_path = "/janus", https = false }
admin: { admin_http = false, admin_https = false }
"""


def start_janus(net, api, method):
    """Janus on bob, with the echo test alone: its output is in the file that is returned."""
    folder = scratch()
    libraries = next(pathlib.Path("/usr/lib").glob("*/janus"))
    others = {kind: ",".join(file.name for file in (libraries / kind).glob("*.so") if file.name not in ("libjanus_echotest.so", "libjanus_http.so"))
              for kind in ("plugins", "transports")}
    (folder / "janus.jcfg").write_text(JANUS % {"folder": folder, "libraries": libraries, "api": api, "key": KEY, "method": method, **others})
    (folder / "janus.transport.http.jcfg").write_text(JANUS_HTTP)
    log = folder / "log"
    with open(log, "wb") as out:
        janus = net.spawn("bob", "janus", "--disable-colors", "-F", str(folder), stdout=out, stderr=out, cwd=folder)
    end = time.monotonic() + 20
    while "HTTP webserver started" not in log.read_text(errors="replace"):
        assert janus.poll() is None and time.monotonic() < end, log.read_text(errors="replace")[-900:]
        time.sleep(0.05)
    return log


def janus(net, browser, path, method):
    log = start_janus(net, start(net) + path, method)
    # Browsers hide their own addresses; one that STUN tells has a permission at the relay.
    stun = [{"urls": f"stun:{net.v4('server')}:3478"}]
    place = f"http://{net.v4('bob')}:8088/janus"
    found = scenario(net, "janus", seconds=60, left="alice", leftBrowser=browser, policy="all", iceServers=stun, base=place)
    said = log.read_text(errors="replace")
    assert "Got credentials from the TURN REST API backend" in said, said[-900:]
    candidates = re.findall(r"a=candidate:.* typ (\w+)", found["answer"])
    assert set(candidates) == {"relay"}, found
    assert (found["state"], found["stats"]["remote"]) == ("connected", "relay"), found
    assert found["heard"].endswith("ping"), found


@test(120)
def chromium_hears_itself_from_janus_with_a_relay(net):
    janus(net, "chromium", "", "POST")


@test(120)
def firefox_hears_itself_from_janus_with_a_relay(net):
    janus(net, "firefox", "/turn", "GET")
