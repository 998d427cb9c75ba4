// Any value to all others, over a plain WebSocket or as `message` events of Socket.IO.
"use strict";
const pc = newConnection();
let send;

async function hear(message) {
  if (message === "Hello!") client.hello = true;
  if (message.offer) {
    await pc.setRemoteDescription(new RTCSessionDescription(message.offer));
    const answer = await pc.createAnswer();
    await pc.setLocalDescription(answer);
    send({ answer });
  }
  if (message.answer) await pc.setRemoteDescription(new RTCSessionDescription(message.answer));
  if (message.iceCandidate) await pc.addIceCandidate(message.iceCandidate);
}

if (settings.socketio) {
  const socket = io.connect(settings.url, settings.options);
  send = (value) => socket.emit("message", value);
  socket.on("message", hear);
  socket.on("connect", () => { client.isReady = true; });
} else {
  const socket = new WebSocket(settings.url);
  send = (value) => socket.send(JSON.stringify(value));
  socket.onmessage = ({ data }) => hear(JSON.parse(data));
  socket.onopen = () => { client.isReady = true; };
}
// Sent under this name, listened for under another.
pc.addEventListener("icecandidate", ({ candidate }) => candidate && send({ "new-ice-candidate": candidate }));
client.call = async () => {
  send("Hello!");
  const offer = await pc.createOffer();
  await pc.setLocalDescription(offer);
  send({ offer });
};
