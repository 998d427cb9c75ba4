// Opens a page whose certificate nobody vouches for, as a phone in a trial does, and prints what is given to it, as JSON.
//   node secure.mjs '{"netns": NETNS, "url": "https://…/"}'
import { startChromium } from "./browsers.mjs";

const { netns, url } = JSON.parse(process.argv[2]);

/** What the page may do once its user has gone on. */
async function given() {
  const media = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  const tracks = media.getTracks().map((track) => `${track.kind} ${track.readyState}`).sort();
  const socket = new WebSocket(new URL("/ws", location).href.replace("https:", "wss:"));
  socket.onopen = () => socket.send('{"join":{}}');
  const welcome = await new Promise((resolve, reject) => {
    socket.onmessage = (event) => resolve(JSON.parse(event.data).welcome);
    socket.onerror = () => reject(new Error("no WebSocket"));
  });
  // The page's own way to the camera.
  await relais.join("", { media: "camera", name: "Phone" });
  const sends = document.getElementById("local").srcObject.getTracks().map((track) => `${track.kind} ${track.readyState}`).sort();
  const explained = document.getElementById("insecure").checkVisibility();
  return { secure: isSecureContext, tracks, sends, explained, about: await (await fetch("/v1/about")).json(), room: welcome.room };
}

const careful = await startChromium(netns);
const warning = await (await careful.newPage()).goto(url).then(() => "none", (error) => error.message.match(/ERR_\w+/)?.[0]);
await careful.close();
const gone = await startChromium(netns, { ignoreHTTPSErrors: true });
const page = await gone.newPage();
await page.goto(url);
await page.waitForFunction(() => window.relais);
const result = await page.evaluate(given);
await gone.close();
console.log(JSON.stringify({ warning, ...result }));
