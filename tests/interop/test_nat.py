"""NAT behavior discovery (RFC 5780) by coturn's turnutils_natdiscovery, behind NATs of several kinds."""

import contextlib
import re

from harness import test
from net import run
from server import start_server

FIRST, SECOND = "5.9.1.10", "5.9.1.11"
PLAIN = "masquerade"
# Another source port for each destination: what is called a symmetric NAT.
SYMMETRIC = "masquerade fully-random"
# Whatever comes to the public address goes to carol: what is called a full cone.
FULL_CONE = 'iifname "eth0" meta l4proto udp dnat to 192.168.7.20'


def rules(out, back=""):
    return f"""
        flush ruleset
        table ip nat {{
            chain pre {{
                type nat hook prerouting priority dstnat
                {back}
            }}
            chain post {{
                type nat hook postrouting priority srcnat
                oifname "eth0" {out}
            }}
        }}
    """


@contextlib.contextmanager
def nat(net, out, back=""):
    """carol's NAT is of another kind within the block."""
    def load(text):
        run(["ip", "netns", "exec", net.name("nat"), "nft", "-f", "-"], stdin=text)

    load(rules(out, back))
    try:
        yield
    finally:
        load(rules(PLAIN))


@contextlib.contextmanager
def discovery(net):
    """A server with two addresses and two ports for each."""
    net.ip("server", "addr", "add", f"{SECOND}/24", "dev", "eth0")
    try:
        yield start_server(net, {"nat_discovery": {"addresses": [FIRST, SECOND], "ports": [3478, 3479]}})
    finally:
        net.ip("server", "addr", "del", f"{SECOND}/24", "dev", "eth0")


def discovered(net, host):
    """What natdiscovery says about mapping and filtering."""
    said = net.exec(host, "turnutils_natdiscovery", "-m", "-f", FIRST, timeout=40).stdout
    found = re.findall(r"NAT with (.*) (Mapping|Filtering)!", said)
    assert [kind for _, kind in found] == ["Mapping", "Filtering"], said[-900:]
    return [behaviour for behaviour, _ in found]


@test()
def natdiscovery_without_nat(net):
    with discovery(net):
        assert discovered(net, "alice") == ["Endpoint Independent", "Endpoint Independent"]


@test()
def natdiscovery_behind_a_nat_that_filters_by_port(net):
    with discovery(net):
        assert discovered(net, "carol") == ["Endpoint Independent", "Address and Port Dependent"]


@test()
def natdiscovery_behind_a_symmetric_nat(net):
    with discovery(net), nat(net, SYMMETRIC):
        assert discovered(net, "carol") == ["Address and Port Dependent", "Address and Port Dependent"]


@test()
def natdiscovery_behind_a_full_cone(net):
    with discovery(net), nat(net, PLAIN, FULL_CONE):
        assert discovered(net, "carol") == ["Endpoint Independent", "Endpoint Independent"]
