"""Two aiortc peer connections that may only use relayed candidates; prints one JSON object about what happened.

    aiortc_pair.py URL USER PASSWORD
"""

import asyncio
import hashlib
import json
import os
import sys

import aiortc
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

MESSAGES = 200


def connection(url, user, password):
    return RTCPeerConnection(RTCConfiguration(
        iceServers=[RTCIceServer(urls=url, username=user, credential=password)],
        iceTransportPolicy=RTCIceTransportPolicy.RELAY,
    ))


def inbox(channel):
    queue = asyncio.Queue()
    channel.on("message", queue.put_nowait)
    return queue


async def exchange(here, there):
    good = 0
    for number in range(MESSAGES):
        message = hashlib.sha256(str(number).encode()).digest() + os.urandom(number * 20)
        here.send(message)
        good += await asyncio.wait_for(there.get(), 5) == message
    return good


def candidates(connection):
    lines = connection.localDescription.sdp.splitlines()
    return {line.split(" typ ")[1].split()[0] for line in lines if line.startswith("a=candidate:")}


async def main():
    one, two = (connection(*sys.argv[1:4]) for _ in range(2))
    left = one.createDataChannel("bytes")
    from_right, opened = inbox(left), asyncio.get_running_loop().create_future()
    left.on("open", lambda: opened.set_result(True))
    incoming = asyncio.get_running_loop().create_future()
    two.on("datachannel", lambda channel: incoming.set_result((channel, inbox(channel))))
    await one.setLocalDescription(await one.createOffer())
    await two.setRemoteDescription(one.localDescription)
    await two.setLocalDescription(await two.createAnswer())
    await one.setRemoteDescription(two.localDescription)
    await opened
    right, from_left = await incoming
    there, back = await exchange(left, from_left), await exchange(right, from_right)
    types = sorted(candidates(one) | candidates(two))
    await asyncio.gather(one.close(), two.close())
    print(json.dumps({"library": f"aiortc {aiortc.__version__}", "candidates": types, "wanted": MESSAGES, "there": there, "back": back}))


asyncio.run(asyncio.wait_for(main(), 40))
