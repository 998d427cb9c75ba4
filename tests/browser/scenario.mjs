// Runs one scenario with one or two browsers, each in its own network namespace, and prints what happened as JSON.
//   node scenario.mjs '{"kind": "call", "left": NETNS, "right": NETNS, "iceServers": [...], ...}'
//   node scenario.mjs '{"kind": "call", "leftBrowser": "firefox", "rightBrowser": "chromium", "ca": PEM FILE, ...}'
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startChromium, trust } from "./browsers.mjs";
import { startFirefox } from "./firefox.mjs";

const here = import.meta.dirname;
const wanted = JSON.parse(process.argv[2]);
const html = readFileSync(join(here, "page.html"), "utf8");
const open = [];

async function browser(netns) {
  const context = await startChromium(netns, { ca: wanted.ca, args: wanted.args });
  open.push(() => context.close());
  return context;
}

// A page at localhost is a secure context, so it gets a camera and SHA-256; no server is asked for it.
async function chromiumPage(netns) {
  const page = await (await browser(netns)).newPage();
  await page.route("http://localhost/", (route) => route.fulfill({ contentType: "text/html", body: html }));
  await page.goto("http://localhost/");
  return page;
}

// To Firefox a file is a secure context.
async function firefoxPage(netns) {
  const page = await startFirefox(netns, { prepare: (folder) => trust(folder, wanted.ca) });
  open.push(() => page.close());
  await page.goto(pathToFileURL(join(here, "page.html")).href);
  return page;
}

const plainPage = (side) => (wanted[`${side}Browser`] === "firefox" ? firefoxPage : chromiumPage)(wanted[side]);

async function testPage(side) {
  const page = await plainPage(side);
  const configuration = { iceServers: wanted.iceServers, iceTransportPolicy: wanted.policy ?? "relay" };
  await page.evaluate((c) => test.open(c), configuration);
  return page;
}

/** What a page gathers with a configuration, from relays alone. */
const relaysOf = (page, configuration) => page.evaluate(async (given) => {
  test.renew();
  test.open({ ...given, iceTransportPolicy: "relay" });
  test.addChannel();
  await test.describe("offer");
  test.pc.close();
  return { candidates: test.candidates, errors: test.errors };
}, configuration);

/** Runs a script of a package in a page. */
const load = (page, path) => page.evaluate((code) => {
  document.head.append(Object.assign(document.createElement("script"), { textContent: code }));
}, readFileSync(join(here, "node_modules", path), "utf8"));

/** An ICE restart: new candidates, a new pair, and data over it. Returns the digests of what went and what came. */
async function restart(left, right) {
  const before = await left.evaluate(() => test.localPort());
  for (const page of [left, right]) await page.evaluate(() => test.renew());
  const offer = await left.evaluate(() => test.describe("restart"));
  const answer = await right.evaluate((o) => test.describe("answer", o), offer);
  await left.evaluate((a) => test.describe("done", a), answer);
  for (let i = 0; i < 100 && (await left.evaluate(() => test.localPort())) === before; i++) await new Promise((done) => setTimeout(done, 100));
  const after = await left.evaluate(() => test.localPort());
  await right.evaluate(() => test.forget());
  const sent = await left.evaluate((n) => test.send(n, 3), wanted.restart);
  const got = await right.evaluate((n) => test.digest(n, 30), wanted.restart);
  return { before, after, sent, got };
}

const scenarios = {
  // Two browsers call each other: data both ways, or video both ways.
  async call() {
    const [left, right] = await Promise.all([testPage("left"), testPage("right")]);
    if (wanted.video) await Promise.all([left, right].map((page) => page.evaluate(() => test.addCamera())));
    await left.evaluate(() => test.addChannel());
    const offer = await left.evaluate(() => test.describe("offer"));
    const answer = await right.evaluate((o) => test.describe("answer", o), offer);
    await left.evaluate((a) => test.describe("done", a), answer);
    const result = { states: await Promise.all([left, right].map((page) => page.evaluate(() => test.connected()))) };
    if (wanted.bytes) {
      const began = Date.now();
      const digests = (page) => page.evaluate((n) => test.digest(n, 60), wanted.bytes);
      [result.sentLeft, result.sentRight, result.gotLeft, result.gotRight] = await Promise.all([
        left.evaluate((n) => test.send(n, 1), wanted.bytes), right.evaluate((n) => test.send(n, 2), wanted.bytes),
        digests(left), digests(right),
      ]);
      result.seconds = (Date.now() - began) / 1000;
    }
    if (wanted.restart) result.restart = await restart(left, right);
    const look = () => Promise.all([left, right].map((page) => page.evaluate(() => test.stats())));
    result.stats = await look();
    for (let i = 0; wanted.video && i < 40 && result.stats.some((s) => s.framesDecoded < wanted.video); i++) {
      await new Promise((done) => setTimeout(done, 500));
      result.stats = await look();
    }
    result.errors = (await Promise.all([left, right].map((page) => page.evaluate(() => test.errors)))).flat();
    return result;
  },

  // One browser gathers its candidates.
  async gather() {
    const page = await testPage("left");
    await page.evaluate(() => test.addChannel());
    await page.evaluate(() => test.describe("offer"));
    return page.evaluate(() => ({ candidates: test.candidates, errors: test.errors }));
  },

  // One browser gathers candidates with each of several configurations.
  async gatherEach() {
    const page = await plainPage("left");
    const found = {};
    for (const [name, configuration] of Object.entries(wanted.configurations)) found[name] = await relaysOf(page, configuration);
    return found;
  },

  // matrix-js-sdk asks as it asks a homeserver, and places a call: what it opens its connection with, and what that gathers.
  async matrix() {
    const page = await plainPage("left");
    await load(page, "matrix-js-sdk/dist/browser-matrix.min.js");
    const asked = await page.evaluate(async ({ baseUrl, accessToken }) => {
      const configurations = [];
      const Native = RTCPeerConnection;
      window.RTCPeerConnection = class extends Native {
        constructor(configuration) {
          super(configuration);
          configurations.push(configuration);
        }
      };
      const client = matrixcs.createClient({ baseUrl, accessToken, userId: "@alice:relais.example", deviceId: "test" });
      const told = new Promise((yes, no) => {
        client.once("turnServers", yes);
        client.once("turnServersError", no);
      });
      await client.startClient();
      await told;
      const call = client.createCall("!room:relais.example");
      // Nobody takes the invitation: here is no homeserver.
      call.on("error", () => {});
      await call.placeVoiceCall();
      client.stopClient();
      window.RTCPeerConnection = Native;
      return { configuration: configurations[0], expiry: client.getTurnServersExpiry(), now: Date.now() };
    }, wanted);
    return { ...asked, ...(await relaysOf(page, asked.configuration)) };
  },

  // A WHIP client publishes at an endpoint that passes on the server's Link headers: its configuration, and what that gathers.
  async whip() {
    const page = await plainPage("left");
    const code = readFileSync(join(here, "node_modules/whip-whep/whip.js"), "utf8");
    const found = {};
    for (const [name, links] of Object.entries(wanted.links)) {
      const configuration = await page.evaluate(async (given) => {
        const { WHIPClient } = await import(URL.createObjectURL(new Blob([given.code], { type: "text/javascript" })));
        const headers = new Headers({ location: "/publication" });
        for (const link of given.links) headers.append("link", link);
        window.fetch = async () => new Response("", { status: 201, headers });
        const pc = new RTCPeerConnection();
        pc.createDataChannel("bytes");
        // The endpoint has no answer to the offer.
        await new WHIPClient().publish(pc, "http://whip.example/").catch(() => {});
        pc.close();
        return pc.getConfiguration();
      }, { code, links });
      found[name] = { configuration, ...(await relaysOf(page, configuration)) };
    }
    return found;
  },

  // A page calls the echo test of a Janus that has nothing but relayed addresses, and hears its own words.
  async janus() {
    const page = await testPage("left");
    return page.evaluate(async (base) => {
      const ask = async (path, words) => {
        const answer = await fetch(base + path, words && { method: "POST", body: JSON.stringify({ transaction: "t", ...words }) });
        return answer.json();
      };
      const session = `/${(await ask("", { janus: "create" })).data.id}`;
      const handle = `${session}/${(await ask(session, { janus: "attach", plugin: "janus.plugin.echotest", opaque_id: "alice" })).data.id}`;
      test.pc.createDataChannel("JanusDataChannel");
      const channel = test.pc.createDataChannel("words");
      const heard = new Promise((done) => { channel.onmessage = (message) => done(message.data); });
      const offer = await test.describe("offer");
      await ask(handle, { janus: "message", body: {}, jsep: { ...offer, force_relay: true } });
      // Firefox says that it may send more candidates; there are none.
      await ask(handle, { janus: "trickle", candidate: { completed: true } });
      let event;
      while (!event?.jsep) {
        event = await ask(`${session}?maxev=1`);
        if (event.janus === "error" || event.janus === "hangup") throw new Error(JSON.stringify(event));
      }
      await test.describe("done", event.jsep);
      const state = await test.connected();
      if (channel.readyState !== "open") await new Promise((done) => { channel.onopen = done; });
      channel.send("ping");
      return { state, heard: await heard, answer: event.jsep.sdp, stats: await test.stats() };
    }, wanted.base);
  },

  // The trial page, twice: into one room by its form, then picture, data and words.
  async trialCall() {
    const pages = await Promise.all([wanted.left, wanted.right].map((netns) => trialPage(netns)));
    for (const [number, { page }] of pages.entries()) {
      await page.locator("#transport").selectOption(wanted.transport);
      await page.locator("#media").selectOption("synthetic");
      await page.locator("#name").fill(["Alice", "Bob"][number]);
      await page.locator("#room").fill("friday");
      await page.locator("#join").click();
    }
    const texts = (id) => Promise.all(pages.map(({ page }) => page.locator(`#${id}`).textContent()));
    const complaintsOf = (all) => all.flatMap((p) => p.complaints);
    const figures = () => Promise.all(pages.map(({ page }) => page.evaluate(() => relais.stats())));
    let stats = [];
    for (let i = 0; i < 80; i++) {
      stats = await figures();
      if (stats.every((s) => s?.pair && s.framesDecoded >= wanted.video)) break;
      if (i === 79) throw new Error(`no picture: ${JSON.stringify([stats, await texts("call-status"), complaintsOf(pages)])}`);
      await new Promise((done) => setTimeout(done, 500));
    }
    const transfers = [];
    for (const { page } of pages) transfers.push(await page.evaluate((n) => relais.transfer(n), wanted.bytes));
    await pages[0].page.locator("#chat-input").fill("hello over there");
    await pages[0].page.locator("#chat-send").click();
    await pages[1].page.waitForFunction(() => relais.messages.length > 0, null, { timeout: 10_000 });
    const messages = await pages[1].page.evaluate(() => relais.messages);
    const status = await texts("call-status");
    await pages[0].page.locator("#hangup").click();
    await pages[1].page.waitForFunction(() => relais.peers().length === 0, null, { timeout: 10_000 });
    return { stats, transfers, messages, status, complaints: complaintsOf(pages) };
  },
};

async function trialPage(netns) {
  const page = await (await browser(netns)).newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/status of 404/.test(message.text()) && complaints.push(message.text()));
  await page.goto(wanted.url);
  await page.waitForFunction(() => window.relais);
  return { page, complaints };
}

let code = 0;
try {
  const late = new Promise((_, no) => setTimeout(() => no(new Error("the scenario took too long")), (wanted.seconds ?? 90) * 1000).unref());
  console.log(JSON.stringify(await Promise.race([scenarios[wanted.kind](), late])));
} catch (error) {
  console.error(String(error.stack ?? error));
  code = 1;
} finally {
  for (const close of open) await Promise.race([close().catch(() => {}), new Promise((done) => setTimeout(done, 5000))]);
}
process.exit(code);
