"""The trial page: what it says when all is well, and what it says of each failure. Plain HTTP from another machine: no camera, no
secure context, so all of it must work without them."""

import json
import pathlib
import re

from calls import HERE
from harness import test
from net import SERVER_NAME, SERVER_NAME_V6, run
from server import SECRET, start_server, tls_settings

BROWSERS = ("chromium", "firefox")
CHROMIUM_STEPS = ["happy", "looks", "access", "linter", "wrongSecret", "expired", "mismatch", "udpBlocked", "rangeBlocked", "unseen", "call"]


def drive(net, steps, browser="chromium", client="alice", server="server", seconds=150, **more):
    host = more.pop("host", None) or net.v4(server)
    words = {"browser": browser, "netns": net.name(client), "server": net.name(server), "url": f"http://{host}:8080/", "host": host,
             "name": SERVER_NAME, "otherName": SERVER_NAME_V6, "secret": SECRET, "steps": steps, "seconds": seconds, **more}
    done = run(["node", str(HERE / "page.mjs"), json.dumps(words)], timeout=seconds + 30, check=False)
    print(done.stderr.rstrip())
    assert done.returncode == 0, done.stderr[-900:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["complaints"], result["complaints"]
    return result


def page_server(net, **changes):
    """A server whose certificate has one name, and the file of its authority."""
    settings, ca = tls_settings(net, names=(SERVER_NAME,))
    settings["http"] = {"listen": [f"{net.v4('server')}:8080"], "rooms": "open", "open": True}
    start_server(net, settings | changes)
    return ca


def check_state(said, state, *words, **causes):
    check_words(said)
    assert said["state"] == state, said
    for word in words:
        assert word in said["verdict"], (word, said)
    for way, cause in causes.items():
        assert said["causes"][way] == cause, (way, cause, said)


def check_words(said):
    """What is missing is left out, and not written as a value of the language."""
    for card in said["cards"].values():
        assert not re.search(r"false|undefined|null|NaN", card["text"]), card


def check_happy(said):
    check_state(said, "good", "UDP, TCP and TLS")
    for way in ("udp", "tcp", "tls", "peers"):
        assert said["cards"][way]["state"] == "good", said["cards"]
    for way in ("udp", "tcp", "tls"):
        text = said["cards"][way]["text"]
        assert "99 % within" in text and "lost" in text and "Mbit/s" in text and f"relay/relay ({way})" in text, text


def check_parts(said):
    assert said["head"] == ["ms", "For", "Type", "Foundation", "Protocol", "Address", "Port", "Priority", "Relay by", "Server"], said["head"]
    assert 0 < said["filtered"] < said["all"] and said["copied"] == ["Copied", True], said
    forms = said["forms"]
    assert set(forms) == {"js", "json", "curl", "nextcloud", "synapse", "jitsi", "livekit", "mediamtx"}, list(forms)
    assert json.loads(forms["json"])["iceServers"][1]["username"]
    assert all("secret of [auth]" in forms[name] for name in ("nextcloud", "synapse", "jitsi", "livekit", "mediamtx")), forms
    credential = json.loads(forms["json"])["iceServers"][1]["credential"]
    assert credential not in said["report"] and "serverView" in said["report"], "the report has the credential"


def check_view(said):
    """What the server has seen of all this, on the same page."""
    for word in ("Allocate", "CreatePermission", "UDP", "TLS"):
        assert word in said["view"], (word, said["view"])


def check_access(said):
    assert not said["nameless"], said["nameless"]
    assert not said["contrasts"], said["contrasts"]
    levels = said["headings"]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:])), levels
    assert said["order"][0] == "skip" and said["order"][6:8] == ["check", "save"], said["order"]


def check_linter(said):
    text = " ".join(said["faults"])
    for word in ("“url”", "“//”", "transport=tls", "“password”", "expired", "port 53"):
        assert word in text, (word, text)
    first = said["corrected"]["iceServers"][0]
    assert first["urls"].startswith("turns:") and first["credential"] == "secret<b>", first


def check_unseen(said):
    """Without /v1/view the page tests as before, and says what it does not know."""
    check_state(said["good"], "good", "UDP and TCP")
    assert all(said["good"]["cards"][way]["state"] == "good" for way in ("udp", "tcp", "peers")), said["good"]["cards"]
    assert "does not show its view" in said["good"]["view"], said["good"]["view"]
    check_state(said["bad"], "bad", "login", udp="code_401")


def check_call(said):
    assert said["before"]["local"] == said["before"]["remote"] == "relay", said
    assert said["qr"] > 0 and said["muted"] == ["true", False] and said["insecure"], said
    assert len(said["members"]) == 2 and "Bob" in said["members"][1], said
    assert "Bob: hello from over there" in said["chat"] and said["sent"]["ok"] and said["sent"]["bytes"] == 300_000, said


@test(240)
def trial_page_in_chromium(net):
    ca = page_server(net)
    got = drive(net, CHROMIUM_STEPS, ca=ca, seconds=200)
    check_happy(got["happy"])
    check_parts(got["happy"])
    check_view(got["happy"])
    assert all(look["wide"] <= look["view"] for look in got["looks"]["sizes"]) and not got["looks"]["contrasts"], got["looks"]
    check_access(got["access"])
    check_linter(got["linter"])
    check_state(got["wrongSecret"], "bad", udp="wrong_secret")
    assert got["wrongSecret"]["pasted"] and not got["wrongSecret"]["report"], got["wrongSecret"]
    check_state(got["expired"], "bad", "expired 12 minutes ago", udp="expired", tcp="expired", tls="expired")
    check_state(got["mismatch"], "bad", f"not for the name {SERVER_NAME_V6}", tls="tls_name")
    check_state(got["udpBlocked"], "warn", "UDP to port 3478 is blocked", udp="unreached", tcp=None)
    check_state(got["rangeBlocked"], "warn", "relay ports are blocked", peers="relay_range_blocked", tcp=None)
    check_unseen(got["unseen"])
    check_call(got["call"])


@test(200)
def trial_page_in_firefox(net):
    """Firefox knows the authority in one browser, and not in the other."""
    ca = page_server(net)
    got = drive(net, ["happy", "wrongSecret", "expired", "mismatch", "udpBlocked", "rangeBlocked", "unseen", "call"], "firefox", ca=ca)
    check_happy(got["happy"])
    check_parts(got["happy"])
    check_view(got["happy"])
    check_state(got["wrongSecret"], "bad", udp="wrong_secret")
    check_state(got["expired"], "bad", "expired", udp="expired")
    check_state(got["mismatch"], "bad", f"not for the name {SERVER_NAME_V6}", tls="tls_name")
    check_state(got["udpBlocked"], "warn", "UDP to port 3478 is blocked", udp="unreached")
    check_state(got["rangeBlocked"], "warn", "relay ports are blocked", peers="relay_range_blocked", tcp=None)
    check_unseen(got["unseen"])
    check_call(got["call"])
    got = drive(net, ["untrusted"], "firefox")
    check_state(got["untrusted"], "bad", "does not trust who signed it", tls="tls_unreached")


@test(60)
def trial_page_names_the_quota(net):
    page_server(net, limits={"allocations_per_user": 1})
    for browser in BROWSERS:
        check_state(drive(net, ["quota"], browser)["quota"], "bad", udp="quota", tcp="quota")


@test(90)
def trial_page_in_a_lan_names_the_private_peer(net):
    """A server in carol's own network: two relayed callers meet, but nothing is relayed to her private address."""
    place = "192.168.7.1"
    start_server(net, {"listen": {"udp": [f"{place}:3478"], "tcp": [f"{place}:3478"]}, "relay": {"addresses": [place]},
                       "http": {"listen": [f"{place}:8080"], "rooms": "open", "open": True}}, host="nat")
    for browser in BROWSERS:
        got = drive(net, ["privatePeer"], browser, client="carol", host=place)["privatePeer"]
        check_state(got, "good", peers="peer_denied")
        assert "192.168.7.20" in got["cards"]["peers"]["text"], got


@test(30)
def trial_page_parts_that_need_no_browser(net):
    done = run(["node", "--test", str(pathlib.Path(HERE) / "page_unit.test.mjs")], timeout=25, check=False)
    assert done.returncode == 0, done.stdout[-1500:]
