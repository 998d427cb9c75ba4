// simple-peer, whose signals go to a peer by Socket.IO.
"use strict";
const socket = io.connect(settings.url, settings.options);
const others = new Set();
let peer;

function meet(id, initiator) {
  peer = new SimplePeer({ initiator, config: rtc });
  client.pc = peer._pc;
  peer.on("signal", (signal) => socket.emit("signal", id, signal));
  peer.on("connect", () => settings.caller && peer.send("ping"));
  peer.on("error", (error) => client.errors.push(String(error)));
  peer.on("data", (data) => {
    client.heard.push(String(data));
    if (String(data) === "ping") peer.send("pong");
  });
}

socket.on("clients", (clients) => {
  others.clear();
  for (const id of Object.keys(clients)) if (id !== socket.id) others.add(id);
  client.isReady = !settings.caller || others.size > 0;
});
socket.on("signal", (_, signal, from) => {
  if (!peer) meet(from, false);
  peer.signal(signal);
});
client.call = () => meet([...others][0], true);
