"""What dialects of iceServers answer goes into a browser and gathers a relay; test_consumers.py has those that a program reads."""

import base64
import http.client
import json

from calls import scenario
from harness import test
from server import start_server

KEY = "key-of-the-shop-0123456789"


def ask(net, method, path, body=None, headers=None, status=200):
    """Asks from another machine: (what the body says, all Link headers)."""
    with net.inside("alice"):
        connection = http.client.HTTPConnection(net.v4("server"), 8080, timeout=5)
        connection.connect()
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == status, (path, response.status, text)
        return json.loads(text) if text else None, response.headers.get_all("Link") or []
    finally:
        connection.close()


def configurations(net):
    bearer = {"Authorization": f"Bearer {KEY}"}
    basic = {"Authorization": "Basic " + base64.b64encode(f"shop:{KEY}".encode()).decode()}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    native, _ = ask(net, "GET", "/v1/ice-servers", headers=bearer)
    base = "/v1/turn/keys/shop/credentials"
    cloudflare, _ = ask(net, "POST", f"{base}/generate-ice-servers", '{"ttl":600}', bearer, status=201)
    older, _ = ask(net, "POST", f"{base}/generate", '{"ttl":600}', bearer, status=201)
    twilio, _ = ask(net, "POST", "/2010-04-01/Accounts/shop/Tokens.json", "Ttl=600", basic | form, status=201)
    metered, _ = ask(net, "GET", f"/api/v1/turn/credentials?apiKey={KEY}")
    made, _ = ask(net, "POST", f"/api/v1/turn/credential?secretKey={KEY}", '{"expiryInSeconds":600,"label":"u"}')
    again, _ = ask(net, "GET", f"/api/v1/turn/credentials?apiKey={made['apiKey']}")
    xirsys, _ = ask(net, "PUT", "/_turn/default", headers=basic)
    one, _ = ask(net, "PUT", "/_turn/default", '{"format":"urls"}', basic)

    return {
        # As they are.
        "native": native,
        "cloudflare": cloudflare,
        "twilio": {"iceServers": twilio["ice_servers"]},
        "metered": {"iceServers": metered},
        "metered, by the key of a credential": {"iceServers": again},
        "xirsys": xirsys["v"],
        # As their clients turn them into a configuration.
        "cloudflare, one object": {"iceServers": [older["iceServers"]]},
        "xirsys, one object": {"iceServers": [one["v"]["iceServers"]]},
    }


def gather(net, browser):
    keys = [{"name": "shop", "key": KEY, "quota": 50}]
    start_server(net, {"http": {"listen": [f"{net.v4('server')}:8080"], "keys": keys}})
    found = scenario(net, "gatherEach", left="alice", leftBrowser=browser, configurations=configurations(net))
    assert len(found) == 8
    for name, result in found.items():
        assert any(" typ relay " in candidate for candidate in result["candidates"]), (name, result)


@test(150)
def chromium_takes_ice_servers_of_every_dialect(net):
    gather(net, "chromium")


@test(150)
def firefox_takes_ice_servers_of_every_dialect(net):
    gather(net, "firefox")
