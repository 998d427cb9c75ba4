// {"cmd":…,"from":…,"to":…} over a plain WebSocket, as a page has it that knows who opens first.
"use strict";
const socket = new WebSocket(settings.url);
socket.binaryType = "arraybuffer";
const me = settings.caller ? 0 : 1;
const pc = newConnection();
const send = (message) => socket.send(JSON.stringify({ ...message, from: me, to: 1 - me }));

pc.onicecandidate = ({ candidate }) => send({ cmd: "rtc_candidate", candidate });
socket.onopen = () => { client.isReady = true; };
socket.onmessage = async ({ data }) => {
  const message = JSON.parse(data);
  if (message.cmd === "rtc_offer") {
    await pc.setRemoteDescription(message.offer);
    const answer = await pc.createAnswer();
    // With the offer's own from and to, as some do.
    socket.send(JSON.stringify({ cmd: "rtc_accept", answer, from: message.from, to: message.to }));
    await pc.setLocalDescription(answer);
  } else if (message.cmd === "rtc_accept") {
    await pc.setRemoteDescription(message.answer);
  } else if (message.cmd === "rtc_candidate" && message.candidate) {
    await pc.addIceCandidate(message.candidate);
  }
};
client.call = async () => {
  const offer = await pc.createOffer();
  send({ cmd: "rtc_offer", offer });
  await pc.setLocalDescription(offer);
};
