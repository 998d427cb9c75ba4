"""A call in a trial for the local network: private addresses on both sides and of the server, and the default peer policy."""

from calls import check_digests, check_relayed, scenario
from harness import test
from lan import join, start_trial, turn_of

MEGABYTE = 1024 * 1024


@test(150)
def chromium_calls_in_a_lan_by_relay_alone(net):
    start_trial(net, "carol")
    member, welcome = join(net, "nat", net.v4("carol"))
    result = scenario(net, "call", left="nat", right="nat", bytes=MEGABYTE, iceServers=[turn_of(welcome)])
    check_relayed(result, "udp")
    check_digests(result, MEGABYTE)
    member.close()
