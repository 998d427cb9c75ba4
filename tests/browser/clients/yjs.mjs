// y-webrtc: two documents that become one.
import * as Y from "yjs";
import { WebrtcProvider } from "y-webrtc";

const document = new Y.Doc();
const words = document.getMap("words");
const provider = new WebrtcProvider("a topic", document, { signaling: [settings.url], peerOpts: { config: rtc } });
const [mine, theirs] = settings.caller ? ["ping", "pong"] : ["pong", "ping"];

words.observe(() => {
  if (!words.get(theirs) || client.heard.length) return;
  client.heard.push(theirs);
  client.pc = [...provider.room.webrtcConns.values()][0].peer._pc;
  if (!settings.caller) words.set(mine, true);
});
provider.signalingConns[0].on("connect", () => { client.isReady = true; });
client.call = () => words.set(mine, true);
