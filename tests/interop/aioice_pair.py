"""Two aioice agents that may only use relayed candidates; prints one JSON object about what happened.

    aioice_pair.py SERVER PORT USER PASSWORD udp|tcp
"""

import asyncio
import hashlib
import json
import os
import sys

import aioice
from aioice import Connection, TransportPolicy, stun, turn

MESSAGES = 200


async def allocation_error(server, user, password, transport):
    """The error code of an Allocate, or 0."""
    try:
        endpoint, _ = await turn.create_turn_endpoint(
            asyncio.DatagramProtocol, server_addr=server, username=user, password=password, transport=transport)
    except stun.TransactionFailed as error:
        return error.response.attributes["ERROR-CODE"][0]
    endpoint.close()
    return 0


async def exchange(server, user, password, transport):
    options = {
        "turn_server": server, "turn_username": user, "turn_password": password, "turn_transport": transport,
        "transport_policy": TransportPolicy.RELAY,
    }
    one, two = Connection(ice_controlling=True, **options), Connection(ice_controlling=False, **options)
    await asyncio.gather(one.gather_candidates(), two.gather_candidates())
    types = sorted({c.type for agent in (one, two) for c in agent.local_candidates})
    for here, there in ((one, two), (two, one)):
        for candidate in here.local_candidates:
            await there.add_remote_candidate(candidate)
        await there.add_remote_candidate(None)
        there.remote_username, there.remote_password = here.local_username, here.local_password
    await asyncio.gather(one.connect(), two.connect())
    counted = []
    for here, there in ((one, two), (two, one)):
        good = 0
        for number in range(MESSAGES):
            # Sizes that are no multiple of four try the padding of ChannelData over streams.
            message = hashlib.sha256(str(number).encode()).digest() + os.urandom(number * 5)
            await here.send(message)
            good += await asyncio.wait_for(there.recv(), 3) == message
        counted.append(good)
    await asyncio.gather(one.close(), two.close())
    return types, counted


async def main():
    server = (sys.argv[1], int(sys.argv[2]))
    user, password, transport = sys.argv[3:6]
    result = {"aioice": aioice.__version__, "error": await allocation_error(server, user, password, transport)}
    if result["error"] == 0:
        types, counted = await asyncio.wait_for(exchange(server, user, password, transport), 30)
        result |= {"candidates": types, "wanted": MESSAGES, "there": counted[0], "back": counted[1]}
    print(json.dumps(result))


asyncio.run(main())
