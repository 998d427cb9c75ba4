// Socket.IO: a list of clients, and peerOffer, peerAnswer and peerIce between two of them.
"use strict";
const socket = io.connect(settings.url, settings.options);
const others = new Set();
let pc;

function meet(peer) {
  pc = newConnection();
  pc.onicecandidate = ({ candidate }) => socket.emit("peerIce", peer, candidate);
}

socket.on("clients", (clients) => {
  if (!(socket.id in clients)) client.errors.push(`I am ${socket.id}, and not in ${JSON.stringify(clients)}`);
  others.clear();
  for (const { id } of Object.values(clients)) if (id !== socket.id) others.add(id);
  client.isReady = !settings.caller || others.size > 0;
});
socket.on("peerOffer", async (me, offer, from) => {
  if (me !== socket.id) client.errors.push(`I am ${socket.id}, not ${me}`);
  meet(from);
  await pc.setRemoteDescription(offer);
  await pc.setLocalDescription(await pc.createAnswer());
  socket.emit("peerAnswer", from, pc.localDescription);
});
socket.on("peerAnswer", (_, answer) => pc.setRemoteDescription(answer));
socket.on("peerIce", (_, candidate) => candidate && pc.addIceCandidate(candidate));
client.call = async () => {
  const [peer] = others;
  meet(peer);
  await pc.setLocalDescription(await pc.createOffer());
  socket.emit("peerOffer", peer, pc.localDescription);
};
client.engine = () => socket.io.engine.transport.name;
