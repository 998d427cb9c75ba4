"""Clients that are libraries: aioice, and the `turn` crate by way of `relais probe`."""

import json
import pathlib
import re

from harness import test
from libraries import python
from server import PASSWORD, PORT, SECRET, USER, binary, clean_environment, scratch, start_server
from turnclient import rest_credentials

HERE = pathlib.Path(__file__).resolve().parent


def aioice(net, transport, user=USER, password=PASSWORD):
    done = net.exec("alice", python(), str(HERE / "aioice_pair.py"), net.v4("server"), str(PORT), user, password, transport, timeout=60)
    assert done.returncode == 0, done.stderr[-600:]
    return json.loads(done.stdout)


def check_pair(result):
    assert result["error"] == 0, f"Allocate was refused with {result['error']}"
    assert result["candidates"] == ["relay"], result
    assert result["there"] == result["back"] == result["wanted"], result


@test(400, coturn=True)
def aioice_over_udp(net):
    start_server(net)
    check_pair(aioice(net, "udp"))


@test(150, coturn=True)
def aioice_over_tcp(net):
    start_server(net)
    check_pair(aioice(net, "tcp"))


@test(150, coturn=True)
def aioice_with_a_time_limited_credential(net):
    start_server(net, {"auth": {"users": []}})
    check_pair(aioice(net, "udp", *rest_credentials(SECRET, "carla")))


@test(150, coturn=True)
def aioice_with_a_wrong_password_gets_401(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        assert aioice(net, transport, password="wrong")["error"] == 401


@test(150)
def aioice_with_an_expired_credential_gets_401(net):
    start_server(net)
    user, password = rest_credentials(SECRET, "carla", lifetime=-10)
    assert aioice(net, "udp", user, password)["error"] == 401


def probe(net, *arguments, password=None, host="alice", timeout=60):
    """`relais probe`: its exit code, and all it printed, which must hold one JSON value."""
    env = clean_environment(**({"RELAIS_PASSWORD": password} if password else {}))
    done = net.exec(host, binary(), "probe", *arguments, "--json", "--timeout", "3", timeout=timeout, env=env)
    try:
        json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"probe printed no JSON: {done.stdout!r} {done.stderr!r}") from None
    return done.returncode, done.stdout + done.stderr


@test()
def probe_finds_a_good_server_good(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        code, said = probe(net, f"turn:{net.v4('server')}:{PORT}?transport={transport}", "--user", USER, password=PASSWORD)
        assert code == 0, f"over {transport}: exit {code}: {said[-600:]}"
    code, said = probe(net, f"stun:{net.v4('server')}:{PORT}")
    assert code == 0 and net.v4("alice") in said, f"stun: exit {code}: {said[-600:]}"


@test()
def probe_over_ipv6(net):
    start_server(net)
    code, said = probe(net, f"turn:[{net.v6('server')}]:{PORT}?transport=udp", "--user", USER, password=PASSWORD)
    assert code == 0, f"exit {code}: {said[-600:]}"


@test()
def probe_with_a_shared_secret(net):
    start_server(net, {"auth": {"users": []}})
    secret = scratch() / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    code, said = probe(net, f"turn:{net.v4('server')}:{PORT}", "--secret-file", str(secret))
    assert code == 0 and SECRET not in said, f"exit {code}: {said[-600:]}"


@test()
def probe_takes_what_ice_servers_prints(net):
    server = start_server(net, {"http": {"listen": [], "host": net.v4("server")}})
    printed = net.exec("server", binary(), "ice-servers", "--config", str(server.config), timeout=10, env=clean_environment())
    assert printed.returncode == 0, printed.stderr
    place = scratch() / "ice.json"
    place.write_text(printed.stdout)
    code, said = probe(net, "--ice-servers", str(place))
    assert code == 0, f"exit {code}: {said[-600:]}"


@test()
def probe_says_401_for_a_wrong_password(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        code, said = probe(net, f"turn:{net.v4('server')}:{PORT}?transport={transport}", "--user", USER, password="wrong")
        assert code == 1 and "401" in said, f"over {transport}: exit {code}: {said[-600:]}"


@test()
def probe_says_403_for_a_private_peer(net):
    start_server(net)
    code, said = probe(net, f"turn:{net.v4('server')}:{PORT}", "--user", USER, "--peer", "10.1.2.3:4000", password=PASSWORD)
    assert code == 1 and "403" in said, f"exit {code}: {said[-600:]}"


@test(120)
def probe_says_that_nobody_answers(net):
    """A host with no server on it, and an address with no host."""
    for target in (f"turn:{net.v4('bob')}:{PORT}", "turn:23.20.3.99:3478", f"turn:{net.v4('bob')}:{PORT}?transport=tcp"):
        code, said = probe(net, target, "--user", USER, password=PASSWORD)
        assert code == 1, f"{target}: exit {code}"
        words = r"no answer|unreachable|refused|timed out|nothing answer|not answer|nothing listens|nobody"
        assert re.search(words, said, re.I), f"{target}: {said[-600:]}"


@test()
def probe_does_not_print_the_password(net):
    start_server(net)
    for password in (PASSWORD, "wrong horse"):
        _, said = probe(net, f"turn:{net.v4('server')}:{PORT}", "--user", USER, password=password)
        assert password not in said, said[-600:]
