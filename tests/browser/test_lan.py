"""A call in a trial for the local network: private addresses on both sides and of the server, and the default peer policy."""

import json
import pathlib

from calls import check_digests, check_relayed, scenario
from harness import test
from lan import HTTPS, join, start_trial, turn_of
from net import run

MEGABYTE = 1024 * 1024


@test(150)
def chromium_calls_in_a_lan_by_relay_alone(net):
    start_trial(net, "carol")
    member, welcome = join(net, "nat", net.v4("carol"))
    result = scenario(net, "call", left="nat", right="nat", bytes=MEGABYTE, iceServers=[turn_of(welcome)])
    check_relayed(result, "udp")
    check_digests(result, MEGABYTE)
    member.close()


@test(150)
def chromium_gives_a_page_of_the_lan_its_camera(net):
    """The browser warns, and for a user who goes on the page is a secure context with camera and rooms."""
    start_trial(net, "carol")
    url = f"https://{net.v4('carol')}:{HTTPS}/"
    words = json.dumps({"netns": net.name("nat"), "url": url})
    done = run(["node", str(pathlib.Path(__file__).parent / "secure.mjs"), words], timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-900:]
    result = json.loads(done.stdout)
    assert result["warning"] == "ERR_CERT_AUTHORITY_INVALID", result
    assert result["secure"] and result["tracks"] == ["audio live", "video live"] and result["room"], result
    assert result["sends"] == result["tracks"] and not result["explained"], result
    assert result["about"] == {"https": url, "trusted": False}, result
