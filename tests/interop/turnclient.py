"""A TURN client in little code: enough to allocate by the thousand and to send what real clients do not.

Blocking sockets with time-outs. Long-term credentials with MD5, the form every client can do.
"""

import base64
import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import time

COOKIE = 0x2112A442
BINDING, ALLOCATE, REFRESH, SEND, DATA, PERMISSION, CHANNEL = 1, 3, 4, 6, 7, 8, 9
USERNAME, INTEGRITY, ERROR, CHANNEL_NUMBER, LIFETIME, PEER = 0x06, 0x08, 0x09, 0x0C, 0x0D, 0x12
DONT_FRAGMENT, ICMP = 0x1A, 0x8004
DATA_ATTR, REALM, NONCE, RELAYED, FAMILY, TRANSPORT, MAPPED = 0x13, 0x14, 0x15, 0x16, 0x17, 0x19, 0x20


class TurnError(Exception):
    def __init__(self, code, method):
        super().__init__(f"{code} to method {method}")
        self.code = code


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def encode(method, attributes, transaction, key=None, kind=0):
    """A message; kind 0 is a request, 0x10 an indication. With a key, MESSAGE-INTEGRITY is added.

    The value of an attribute is bytes, or (host, port) for an XOR address.
    """
    body = b"".join(attribute(k, xor_address(*v, transaction) if isinstance(v, tuple) else v) for k, v in attributes)
    length = len(body) + (24 if key else 0)
    message = struct.pack("!HHI", method | kind, length, COOKIE) + transaction + body
    if key:
        message += attribute(INTEGRITY, hmac.digest(key, message, "sha1"))
    return message


def decode(message):
    """(type, transaction, {attribute: value}); the first attribute of a kind counts."""
    kind, length, _ = struct.unpack("!HHI", message[:8])
    found, at = {}, 20
    while at + 4 <= 20 + length:
        name, size = struct.unpack("!HH", message[at:at + 4])
        found.setdefault(name, message[at + 4:at + 4 + size])
        at += 4 + size + (-size % 4)
    return kind, message[8:20], found


def xor_address(host, port, transaction=bytes(12)):
    ip = ipaddress.ip_address(host)
    mask = (struct.pack("!I", COOKIE) + transaction)[:len(ip.packed)]
    packed = bytes(a ^ b for a, b in zip(ip.packed, mask))
    return struct.pack("!BBH", 0, 1 if ip.version == 4 else 2, port ^ (COOKIE >> 16)) + packed


def unxor_address(value, transaction):
    port = struct.unpack("!H", value[2:4])[0] ^ (COOKIE >> 16)
    mask = (struct.pack("!I", COOKIE) + transaction)[:len(value) - 4]
    return str(ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask)))), port


def rest_credentials(secret, user, lifetime=3600):
    """A time-limited user name and its password."""
    name = f"{int(time.time()) + lifetime}:{user}"
    return name, base64.b64encode(hmac.digest(secret.encode(), name.encode(), "sha1")).decode()


class Client:
    """One client transport address. `user` may hold any characters."""

    def __init__(self, net, host, server, user=None, password=None, transport="udp", source=None, timeout=3.0, tos=0):
        self.user, self.password, self.key, self.extra = user, password, None, []
        self.stream = transport == "tcp"
        self.timeout, self.queue, self.buffer = timeout, [], b""
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        with net.inside(host):
            self.socket = socket.socket(family, socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM)
        self.socket.settimeout(timeout)
        if source:
            self.socket.bind((source, 0))
        if tos:
            ipv4 = (socket.IPPROTO_IP, socket.IP_TOS)
            self.socket.setsockopt(*ipv4 if family == socket.AF_INET else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS), tos)
        self.socket.connect(server)
        self.local = self.socket.getsockname()[:2]

    def close(self):
        self.socket.close()

    def _read(self):
        if not self.stream:
            return self.socket.recv(65535)
        while True:
            if len(self.buffer) >= 4:
                first, length = struct.unpack("!HH", self.buffer[:4])
                size = 4 + length + (-length % 4) if first >= 0x4000 else 20 + length
                if len(self.buffer) >= size:
                    frame, self.buffer = self.buffer[:size], self.buffer[size:]
                    return frame
            more = self.socket.recv(65535)
            if not more:
                raise ConnectionError("the server closed the connection")
            self.buffer += more

    def exchange(self, method, attributes=(), key=None, tries=3):
        transaction = os.urandom(12)
        message = encode(method, attributes, transaction, key)
        for attempt in range(1 if self.stream else tries):
            self.socket.sendall(message)
            end = time.monotonic() + (self.timeout if self.stream else 0.5 * 2 ** attempt)
            while (left := end - time.monotonic()) > 0:
                self.socket.settimeout(left)
                try:
                    answer = self._read()
                except TimeoutError:
                    break
                if answer[0] < 0x40 and answer[8:20] == transaction:
                    return self._judge(method, answer)
                self.queue.append(answer)
        raise TimeoutError(f"no answer to method {method}")

    @staticmethod
    def _judge(method, answer):
        kind, _, found = decode(answer)
        if kind & 0x110 == 0x110:
            error = TurnError(found[ERROR][2] * 100 + found[ERROR][3], method)
            error.attributes = found
            raise error
        return found, answer[8:20]

    def binding(self):
        """The reflexive transport address."""
        found, transaction = self.exchange(BINDING)
        return unxor_address(found[MAPPED], transaction)

    def authenticated(self, method, attributes=()):
        """A request with credentials; a first 401 and a 438 are answered as RFC 8489 says."""
        for _ in range(3):
            head = self.extra if self.key else []
            try:
                return self.exchange(method, [*attributes, *head], self.key)
            except TurnError as error:
                if error.code not in (401, 438) or (error.code == 401 and self.key):
                    raise
                realm, nonce = error.attributes[REALM], error.attributes[NONCE]
                name = self.user.encode()
                self.key = hashlib.md5(name + b":" + realm + b":" + self.password.encode()).digest()
                self.extra = [(USERNAME, name), (REALM, realm), (NONCE, nonce)]
        raise TimeoutError("the server asks for credentials for ever")

    def allocate(self, lifetime=600, family=None):
        """The relayed transport address."""
        wanted = [(TRANSPORT, b"\x11\0\0\0"), (LIFETIME, struct.pack("!I", lifetime))]
        if family:
            wanted.append((FAMILY, bytes([family, 0, 0, 0])))
        found, transaction = self.authenticated(ALLOCATE, wanted)
        return unxor_address(found[RELAYED], transaction)

    def refresh(self, lifetime):
        self.authenticated(REFRESH, [(LIFETIME, struct.pack("!I", lifetime))])

    def permit(self, host):
        self.authenticated(PERMISSION, [(PEER, (host, 0))])

    def bind_channel(self, number, host, port):
        self.authenticated(CHANNEL, [(CHANNEL_NUMBER, struct.pack("!HH", number, 0)), (PEER, (host, port))])

    def send_channel(self, number, payload):
        pad = bytes(-len(payload) % 4) if self.stream else b""
        self.socket.sendall(struct.pack("!HH", number, len(payload)) + payload + pad)

    def send_to(self, host, port, payload, more=()):
        """A Send indication."""
        attributes = [(PEER, (host, port)), *more, (DATA_ATTR, payload)]
        self.socket.sendall(encode(SEND, attributes, os.urandom(12), kind=0x10))

    def receive_icmp(self, seconds=2.0):
        """((host, port) of the peer, type, code, error data) of the next Data indication with ICMP."""
        end = time.monotonic() + seconds
        while True:
            if self.queue:
                message = self.queue.pop(0)
            else:
                self.socket.settimeout(max(end - time.monotonic(), 0.001))
                message = self._read()
            if message[0] >= 0x40:
                continue
            kind, transaction, found = decode(message)
            if kind == DATA | 0x10 and ICMP in found:
                assert DATA_ATTR not in found, "an ICMP error has no data"
                reserved, icmp_type, code, data = struct.unpack("!HBBI", found[ICMP])
                assert reserved == 0
                return unxor_address(found[PEER], transaction), icmp_type, code, data

    def receive(self, seconds=2.0):
        """The payload of the next ChannelData message or Data indication."""
        end = time.monotonic() + seconds
        while True:
            if self.queue:
                message = self.queue.pop(0)
            else:
                self.socket.settimeout(max(end - time.monotonic(), 0.001))
                message = self._read()
            if message[0] >= 0x40:
                return message[4:4 + struct.unpack("!H", message[2:4])[0]]
            kind, _, found = decode(message)
            if kind == DATA | 0x10 and DATA_ATTR in found:
                return found[DATA_ATTR]
