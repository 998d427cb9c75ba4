// What the pages of all dialects have in common: a relay-only RTCPeerConnection with a data channel.
"use strict";
const settings = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const client = { heard: [], errors: [], isReady: false };
addEventListener("error", (event) => client.errors.push(event.message));
addEventListener("unhandledrejection", (event) => client.errors.push(String(event.reason)));
const rtc = { iceServers: settings.iceServers, iceTransportPolicy: "relay" };

function use(channel) {
  channel.onmessage = ({ data }) => {
    client.heard.push(data);
    if (data === "ping") channel.send("pong");
  };
  if (settings.caller) channel.onopen = () => channel.send("ping");
}

function newConnection() {
  const pc = (client.pc = new RTCPeerConnection(rtc));
  if (settings.caller) use(pc.createDataChannel("words"));
  pc.ondatachannel = ({ channel }) => use(channel);
  return pc;
}

/** Candidate types of the pair in use. */
client.pair = async () => {
  const all = new Map();
  (await client.pc.getStats()).forEach((entry) => all.set(entry.id, entry));
  const transport = [...all.values()].find((entry) => entry.type === "transport");
  const pair = all.get(transport?.selectedCandidatePairId);
  return pair ? [all.get(pair.localCandidateId).candidateType, all.get(pair.remoteCandidateId).candidateType] : [];
};
