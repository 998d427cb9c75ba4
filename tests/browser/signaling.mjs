// Runs pages of all signaling dialects, two of each: every pair makes a relay-only call through the server alone.
//   node signaling.mjs '{"left": NETNS, "right": NETNS, "iceServers": [...], "host": "…:8080", "secure": "https://…"}'
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startChromium } from "./browsers.mjs";

const here = import.meta.dirname;
const wanted = JSON.parse(process.argv[2]);
const library = (version) => `node_modules/socket.io-client-${version}/dist/socket.io${version === 2 ? "" : ".min"}.js`;
const rooms = `room=${Date.now()}`;

/** A pair of pages: their scripts, and where they connect to. */
const plain = (script, more) => ({ scripts: [script], url: `ws://${wanted.host}/ws?${rooms}-${script}`, ...more });
const socketio = (version, script, transports, ...libraries) => ({
  scripts: [library(version), ...libraries, script],
  url: `http://${wanted.host}?${rooms}-${version}-${script}-${transports ?? "all"}`,
  options: transports ? { transports: [transports] } : {},
  socketio: true,
  engine: transports ?? "websocket",
});
const cases = {
  places: plain("clients/places.js"),
  roles: plain("clients/roles.js"),
  channel: plain("clients/channel.js"),
  "y-webrtc": plain("clients/yjs.mjs", { libraries: ["node_modules/simple-peer/simplepeer.min.js"] }),
  "Socket.IO 2": socketio(2, "clients/peers.js"),
  "Socket.IO 2 by polling": socketio(2, "clients/peers.js", "polling"),
  "Socket.IO 3": socketio(3, "clients/peers.js"),
  "Socket.IO 4": socketio(4, "clients/peers.js"),
  "Socket.IO 4 by polling": socketio(4, "clients/peers.js", "polling"),
  "Socket.IO 4 by WebSocket alone": socketio(4, "clients/peers.js", "websocket"),
  "messages of Socket.IO 2": socketio(2, "clients/channel.js"),
  "messages of Socket.IO 4": socketio(4, "clients/channel.js"),
  "simple-peer": socketio(4, "clients/simple.js", undefined, "node_modules/simple-peer/simplepeer.min.js"),
};

const imports = {
  yjs: "/node_modules/yjs/dist/yjs.mjs",
  "y-webrtc": "/node_modules/y-webrtc/src/y-webrtc.js",
  "y-protocols/": "/node_modules/y-protocols/",
  "lib0/": "/node_modules/lib0/",
  // The library is a classic script; it is loaded as one.
  "simple-peer/simplepeer.min.js": "data:text/javascript,export default SimplePeer",
};

function html({ scripts, libraries = [] }) {
  const tag = (path) => `<script ${path.endsWith(".mjs") ? 'type="module"' : ""} src="/${path}"></script>`;
  const all = [...libraries, "clients/common.js", ...scripts].map(tag).join("\n");
  return `<!doctype html><meta charset="utf-8"><script type="importmap">${JSON.stringify({ imports })}</script>${all}`;
}

/** Files come from here and from the packages, under an origin that is not the server's. */
async function serve(context) {
  await context.route("http://localhost/**", (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/favicon.ico") return route.fulfill({ status: 204 });
    if (pathname === "/") {
      const name = new URL(route.request().url()).searchParams.get("case");
      return route.fulfill({ contentType: "text/html", body: html(cases[name]) });
    }
    // Packages import some files without their ending.
    const path = /\.m?js$/.test(pathname) ? pathname : `${pathname}.js`;
    return route.fulfill({ contentType: "text/javascript", body: readFileSync(join(here, path), "utf8") });
  });
}

async function open(context, name, caller) {
  const { url, options, socketio } = cases[name];
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  const settings = encodeURIComponent(JSON.stringify({ url, options, socketio, caller, iceServers: wanted.iceServers }));
  await page.goto(`http://localhost/?case=${encodeURIComponent(name)}#${settings}`);
  const ready = page.waitForFunction(() => client.isReady, null, { timeout: 15_000 });
  return { page, ready, complaints };
}

async function call(contexts, name) {
  const pages = [];
  try {
    // In the order of their places; a caller of Socket.IO is ready when somebody else is there.
    pages.push(await open(contexts[0], name, true));
    if (!cases[name].socketio) await pages[0].ready;
    pages.push(await open(contexts[1], name, false));
    await Promise.all(pages.map(({ ready }) => ready));
    // Roles are taken by a frame that nobody answers.
    await pages[0].page.waitForTimeout(name === "roles" ? 200 : 0);
    await pages[0].page.evaluate(() => client.call());
    await Promise.all(pages.map(({ page }) => page.waitForFunction(() => client.heard.length, null, { timeout: 20_000 })));
    const heard = await Promise.all(pages.map(({ page }) => page.evaluate(() => client.heard[0])));
    const pairs = await Promise.all(pages.map(({ page }) => page.evaluate(() => client.pair())));
    const engine = await pages[0].page.evaluate(() => client.engine?.());
    const errors = (await Promise.all(pages.map(({ page }) => page.evaluate(() => client.errors)))).flat();
    return { heard, pairs, errors, engine, wantedEngine: engine && cases[name].engine };
  } catch (error) {
    const errors = await Promise.all(pages.map(({ page }) => page.evaluate(() => client.errors).catch(() => [])));
    return { failed: String(error).slice(0, 300), errors: [...errors.flat(), ...pages.flatMap((p) => p.complaints)] };
  } finally {
    await Promise.all(pages.map(({ page }) => page.close()));
  }
}

/** The server's own demo pages: one calls the other, and a picture arrives. */
async function demo(contexts, base, callerPage, calleePage) {
  const query = `?room=${encodeURIComponent(`demo ${base} ${callerPage}`)}`;
  const pages = [];
  const complaints = [];
  try {
    for (const [context, path] of [[contexts[0], callerPage], [contexts[1], calleePage]]) {
      const page = await context.newPage();
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
      await page.goto(`${base}/demo/${path}${query}`);
      await page.getByLabel("only through the relay").check();
      pages.push(page);
    }
    await pages[0].waitForFunction(() => document.getElementById("peers").options.length === 1);
    await pages[0].getByRole("button").click();
    const shows = () => {
      const video = document.getElementById("remote");
      return video.videoWidth > 0 && video.currentTime > 0.2;
    };
    const watchers = pages.filter((_, n) => n === 1 || callerPage === calleePage);
    await Promise.all(watchers.map((page) => page.waitForFunction(shows, null, { timeout: 20_000 })));
    return { complaints: complaints.filter((text) => !text.includes("favicon")) };
  } catch (error) {
    const states = await Promise.all(pages.map((page) => page.locator("#state").textContent().catch(() => "")));
    return { failed: String(error).slice(0, 300), states, complaints };
  } finally {
    await Promise.all(pages.map((page) => page.close()));
  }
}

const contexts = [];
let code = 0;
try {
  const start = (netns) => startChromium(netns, { ignoreHTTPSErrors: true });
  contexts.push(...(await Promise.all([start(wanted.left), start(wanted.right)])));
  await Promise.all(contexts.map(serve));
  const result = { calls: {}, demos: {} };
  const names = Object.keys(cases).filter((name) => name.includes(wanted.only ?? ""));
  // A few at once: each waits for the others' packets more than for the processor.
  while (names.length) {
    const some = names.splice(0, 4);
    const done = await Promise.all(some.map((name) => call(contexts, name)));
    some.forEach((name, n) => { result.calls[name] = done[n]; });
  }
  if (!wanted.only) {
    const http = `http://${wanted.host}`;
    result.demos["sender to receiver"] = await demo(contexts, http, "sender.html", "receiver.html");
    result.demos["both ways"] = await demo(contexts, http, "", "");
    result.demos["both ways over HTTPS"] = await demo(contexts, wanted.secure, "", "");
  }
  console.log(JSON.stringify(result));
} catch (error) {
  console.error(String(error.stack ?? error));
  code = 1;
} finally {
  for (const context of contexts) await Promise.race([context.close().catch(() => {}), new Promise((done) => setTimeout(done, 5000))]);
}
process.exit(code);
