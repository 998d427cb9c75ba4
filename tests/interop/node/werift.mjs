// Two peer connections of werift that may only use relayed candidates.
//   node werift.mjs URL USER PASSWORD
import { RTCPeerConnection } from "werift";
import { Inbox, kinds, report, run, version } from "./pair.mjs";

const [urls, username, credential] = process.argv.slice(2);
const open = () => new RTCPeerConnection({ iceServers: [{ urls, username, credential }], iceTransportPolicy: "relay" });

function end(channel) {
  const inbox = new Inbox();
  channel.onMessage.subscribe((message) => inbox.put(message));
  return { inbox, send: (message) => channel.send(message) };
}

const opened = (channel) => new Promise((done) => {
  if (channel.readyState === "open") done();
  channel.stateChanged.subscribe((state) => state === "open" && done());
});

run(async () => {
  const [one, two] = [open(), open()];
  const incoming = new Promise((done) => two.onDataChannel.subscribe((channel) => done(end(channel))));
  const channel = one.createDataChannel("bytes");
  const left = end(channel);
  await one.setLocalDescription(await one.createOffer());
  await two.setRemoteDescription(one.localDescription);
  await two.setLocalDescription(await two.createAnswer());
  await one.setRemoteDescription(two.localDescription);
  await opened(channel);
  const sdps = [one, two].map((connection) => connection.localDescription.sdp);
  await report(`werift ${version("werift")}`, left, await incoming, kinds(sdps));
  await Promise.all([one.close(), two.close()]);
});
