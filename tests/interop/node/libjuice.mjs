// Two peer connections of libdatachannel, whose ICE and TURN are libjuice's, that may only use relayed candidates.
//   node libjuice.mjs HOST PORT USER PASSWORD
import datachannel from "node-datachannel";
import { Inbox, kinds, report, run, version } from "./pair.mjs";

const [hostname, port, username, password] = process.argv.slice(2);

const open = (name) => new datachannel.PeerConnection(name, {
  iceServers: [{ hostname, port: Number(port), username, password, relayType: "TurnUdp" }],
  iceTransportPolicy: "relay",
});

function end(channel) {
  const inbox = new Inbox();
  channel.onMessage((message) => inbox.put(message));
  return { inbox, send: (message) => channel.sendMessageBinary(message) };
}

run(async () => {
  const lines = [];
  const [one, two] = [open("one"), open("two")];
  for (const [here, there] of [[one, two], [two, one]]) {
    here.onLocalDescription((sdp, type) => there.setRemoteDescription(sdp, type));
    here.onLocalCandidate((candidate, mid) => {
      lines.push(candidate);
      there.addRemoteCandidate(candidate, mid);
    });
  }
  const incoming = new Promise((done) => two.onDataChannel((channel) => done(end(channel))));
  const channel = one.createDataChannel("bytes");
  const left = end(channel);
  await new Promise((done) => channel.onOpen(done));
  await report(`libjuice (node-datachannel ${version("node-datachannel")})`, left, await incoming, kinds(lines));
  one.close();
  two.close();
});
