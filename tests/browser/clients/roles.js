// {"type":"sender"} and {"type":"receiver"} over a plain WebSocket.
"use strict";
const socket = new WebSocket(settings.url);
const pc = newConnection();
const send = (message) => socket.send(JSON.stringify(message));

socket.onopen = () => {
  send({ type: settings.caller ? "sender" : "receiver" });
  client.isReady = true;
};
pc.onicecandidate = ({ candidate }) => candidate && send({ type: settings.caller ? "iceCandidate" : "addIceCandidate", candidate });
socket.onmessage = async ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === "createOffer") {
    await pc.setRemoteDescription(message.sdp);
    await pc.setLocalDescription(await pc.createAnswer());
    send({ type: "createAnswer", sdp: pc.localDescription });
  } else if (message.type === "createAnswer") {
    await pc.setRemoteDescription(message.sdp);
  } else if (message.type === "iceCandidate" || message.type === "addIceCandidate") {
    await pc.addIceCandidate(message.candidate);
  }
};
client.call = async () => {
  await pc.setLocalDescription(await pc.createOffer());
  send({ type: "createOffer", sdp: pc.localDescription });
};
