// Two pages find each other by Socket.IO and call each other. The room is the page's own: /demo/?room=NAME.
"use strict";

const $ = (id) => document.getElementById(id);
const room = new URLSearchParams(location.search).get("room");
const sends = "sends" in document.body.dataset;
// For whoever wants to look inside, as the tests do.
const demo = (window.demo = { pc: null, socket: null });

for (const link of document.querySelectorAll("nav a")) link.search = location.search;

function say(text) {
  $("state").textContent = text;
}

// The server gives iceServers to every member of a room of its own dialect; a room for one is enough.
async function iceServers() {
  const { room } = await (await fetch("/v1/rooms", { method: "POST" })).json();
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?room=${room}`);
  return new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(JSON.stringify({ join: {} }));
    socket.onerror = () => reject(new Error("the server cannot be reached"));
    socket.onmessage = ({ data }) => {
      const { welcome, error } = JSON.parse(data);
      socket.close();
      if (welcome) resolve(welcome.iceServers);
      else reject(new Error(error?.message ?? "no iceServers"));
    };
  });
}

// A camera, or a picture that moves where there is none: browsers give no camera to pages over plain http.
let picture;
function media() {
  picture ??= (async () => {
    const camera = navigator.mediaDevices?.getUserMedia({ video: { width: 640, height: 480 }, audio: true });
    const stream = await (camera ?? Promise.reject()).catch(drawn);
    $("local").srcObject = stream;
    return stream;
  })();
  return picture;
}

function drawn() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
  const pen = canvas.getContext("2d");
  setInterval(() => {
    const time = Date.now() / 1000;
    pen.fillStyle = `hsl(${(time * 40) % 360} 60% 50%)`;
    pen.fillRect(0, 0, 320, 240);
    pen.fillStyle = "#fff";
    pen.font = "48px sans-serif";
    pen.fillText(new Date().toLocaleTimeString(), 30, 120 + 40 * Math.sin(time));
  }, 66);
  return canvas.captureStream(15);
}

// One call at a time: with `peer`, whose candidates may come before the description that they belong to.
let peer;
let early = [];

async function connection(id) {
  demo.pc?.close();
  [peer, early] = [id, []];
  const iceTransportPolicy = $("relay").checked ? "relay" : "all";
  const pc = (demo.pc = new RTCPeerConnection({ iceServers: await iceServers(), iceTransportPolicy }));
  pc.onicecandidate = ({ candidate }) => demo.socket.emit("peerIce", id, candidate);
  pc.onconnectionstatechange = () => say(`The call is ${pc.connectionState}.`);
  pc.ontrack = ({ streams }) => { if ($("remote")) $("remote").srcObject = streams[0]; };
  if (sends) {
    const stream = await media();
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
  }
  return pc;
}

async function describe(pc, description) {
  await pc.setRemoteDescription(description);
  for (const candidate of early.splice(0)) await pc.addIceCandidate(candidate);
}

async function call(id) {
  const pc = await connection(id);
  await pc.setLocalDescription();
  demo.socket.emit("peerOffer", id, pc.localDescription);
}

// What arrives is dealt with one after the other.
let work = Promise.resolve();
function next(what) {
  work = work.then(what).catch((error) => say(`That did not work: ${error.message}`));
}

function start() {
  const socket = (demo.socket = io.connect(location.origin, room === null ? {} : { query: { room } }));
  socket.on("connect", () => { $("self").textContent = socket.id; });
  socket.on("connect_error", (error) => say(`No signaling: ${error.message}`));
  socket.on("disconnect", () => { $("self").textContent = "not connected"; });
  socket.on("clients", (clients) => {
    const peers = $("peers");
    if (!peers) return;
    const chosen = peers.value;
    peers.replaceChildren(...Object.keys(clients).filter((id) => id !== socket.id).map((id) => new Option(id, id)));
    if (chosen in clients) peers.value = chosen;
  });
  socket.on("peerOffer", (_, offer, from) => next(async () => {
    const pc = await connection(from);
    await describe(pc, offer);
    await pc.setLocalDescription();
    socket.emit("peerAnswer", from, pc.localDescription);
  }));
  socket.on("peerAnswer", (_, answer, from) => next(() => from === peer && describe(demo.pc, answer)));
  socket.on("peerIce", (_, candidate, from) => next(async () => {
    if (from !== peer || !candidate) return;
    if (demo.pc.remoteDescription) await demo.pc.addIceCandidate(candidate);
    else early.push(candidate);
  }));
  $("call")?.addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("peers").value) next(() => call($("peers").value));
    else say("Nobody else is here yet.");
  });
}

start();
