"""Access tokens of third parties (RFC 7635) against coturn's tools."""

import base64
import json
import re
import subprocess

import turnclient
from harness import test
from server import PORT, binary, clean_environment, scratch, start_server

NAME = "turn.example.org"
# The three keys that turnutils_uclient -J has inside, as long as their algorithms take them.
KEYS = {
    "north": (b"01234567890123456789012345678901", "A256GCM"),
    "union": (b"1234567890123456", "A128GCM"),
    "oldempire": (b"12345678901234567890123456789012", "A256GCM"),
}
MAC_KEY = b"ZksjpweoixXmvn67534m"
ACCESS_TOKEN, THIRD_PARTY = 0x001B, 0x802E


def text(data):
    return base64.b64encode(data).decode()


def settings():
    keys = [{"kid": kid, "key": text(key), "algorithm": algorithm} for kid, (key, algorithm) in KEYS.items()]
    return {"auth": {"oauth": keys, "oauth_server_name": NAME, "users": [], "secrets": []}}


def turnutils_oauth(kid, *argv):
    key, algorithm = KEYS[kid]
    done = subprocess.run(
        ["turnutils_oauth", *argv, "-i", NAME, "-j", kid, "-k", text(key), "-l", "1", "-m", "4000000000", "-n", algorithm],
        capture_output=True, text=True, errors="replace", timeout=20, check=False,
    )
    return done.stdout + done.stderr


class Bearer(turnclient.Client):
    """A client with a token: in Allocate and Refresh, and its session key instead of one made from a password."""

    def __init__(self, net, host, server, kid, mac_key, token):
        super().__init__(net, host, server)
        self.kid, self.mac_key, self.token, self.announced = kid, mac_key, token, None

    def authenticated(self, method, attributes=()):
        if not self.key:
            try:
                self.exchange(method, attributes)
            except turnclient.TurnError as error:
                found = error.attributes
                self.announced, self.key = found.get(THIRD_PARTY), self.mac_key
                self.extra = [
                    (turnclient.USERNAME, self.kid.encode()),
                    (turnclient.REALM, found[turnclient.REALM]),
                    (turnclient.NONCE, found[turnclient.NONCE]),
                ]
        token = [(ACCESS_TOKEN, self.token)] if method in (turnclient.ALLOCATE, turnclient.REFRESH) else []
        return self.exchange(method, [*attributes, *token, *self.extra], self.key)


@test()
def oauth_tokens_that_coturn_seals_are_taken(net):
    start_server(net, settings())
    for kid in KEYS:
        said = turnutils_oauth(kid, "-e", "-o", text(b"h4j3k2l2n4b5"), "-p", text(MAC_KEY), "-r", "3600")
        token = re.search(r'"access_token":"([^"]+)"', said)
        assert token, said
        client = Bearer(net, "alice", (net.v4("server"), PORT), kid, MAC_KEY, base64.b64decode(token.group(1)))
        client.allocate()
        assert client.announced == NAME.encode(), client.announced
        client.permit(net.v4("peer"))
        client.refresh(600)
        client.close()


@test()
def oauth_tokens_that_we_seal_are_opened_by_coturn(_net):
    key, _ = KEYS["north"]
    folder = scratch()
    place = folder / "key"
    place.write_text(text(key))
    place.chmod(0o600)
    done = subprocess.run(
        [binary(), "credentials", "token", "--kid", "north", "--key-file", str(place), "--server-name", NAME,
         "--lifetime", "10m", "--host", NAME, "--json"],
        capture_output=True, text=True, timeout=20, env=clean_environment(), check=True,
    )
    minted = json.loads(done.stdout)
    said = turnutils_oauth("north", "-d", "-v", "-t", minted["accessToken"])
    assert "Valid token" in said, said
    assert "mac key length: 20" in said and "lifetime: 600" in said, said


@test()
def oauth_uclient_signs_with_a_part_of_the_key_and_is_told_apart(net):
    """coturn's client uses the first 16 of 20 bytes as the key, which RFC 7635 §5 does not allow."""
    server = start_server(net, settings() | {"log": {"format": "json", "level": "debug"}})
    net.exec("alice", "timeout", "20", "turnutils_uclient", "-J", "-c", "-e", net.v4("peer"), "-n", "1", "-m", "1",
             "-p", str(PORT), net.v4("server"), timeout=60)
    server.wait_for("not signed with the key in the access token")
    assert "does not fit key and server name" not in server.stderr(), "its tokens are opened all the same"
