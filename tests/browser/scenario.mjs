// Runs one scenario with one or two browsers, each in its own network namespace, and prints what happened as JSON.
//   node scenario.mjs '{"kind": "call", "left": NETNS, "right": NETNS, "iceServers": [...], ...}'
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const here = import.meta.dirname;
const wanted = JSON.parse(process.argv[2]);
const html = readFileSync(join(here, "page.html"), "utf8");
const open = [];

async function browser(netns) {
  const folder = mkdtempSync(join(tmpdir(), "relais-chromium-"));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: join(here, "chromium"),
    env: { ...process.env, RELAIS_NETNS: netns, HOME: folder },
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
      ...(wanted.args ?? []),
    ],
  });
  open.push({ context, folder });
  context.setDefaultTimeout(60_000);
  return context;
}

// A page at localhost is a secure context, so it gets a camera and SHA-256; no server is asked for it.
async function testPage(netns) {
  const page = await (await browser(netns)).newPage();
  await page.route("http://localhost/", (route) => route.fulfill({ contentType: "text/html", body: html }));
  await page.goto("http://localhost/");
  const configuration = { iceServers: wanted.iceServers, iceTransportPolicy: wanted.policy ?? "relay" };
  await page.evaluate((c) => test.open(c), configuration);
  return page;
}

const scenarios = {
  // Two browsers call each other: data both ways, or video both ways.
  async call() {
    const [left, right] = await Promise.all([testPage(wanted.left), testPage(wanted.right)]);
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
    const page = await testPage(wanted.left);
    await page.evaluate(() => test.addChannel());
    await page.evaluate(() => test.describe("offer"));
    return page.evaluate(() => ({ candidates: test.candidates, errors: test.errors }));
  },

  // The trial page that the server brings: its check, by its button.
  async trialCheck() {
    const { page, complaints } = await trialPage(wanted.left);
    await page.getByTestId("check").click();
    await page.waitForFunction(() => /^[✓✗]/.test(document.getElementById("verdict").textContent), null, { timeout: 60_000 });
    const texts = (id) => page.getByTestId(id).allTextContents();
    const result = { verdict: await texts("verdict"), udp: await texts("check-udp"), tcp: await texts("check-tcp") };
    return { ...result, ice: JSON.parse((await texts("ice"))[0]), complaints };
  },

  // The trial page, twice: into one room by its form, then picture, data and words.
  async trialCall() {
    const pages = await Promise.all([wanted.left, wanted.right].map((netns) => trialPage(netns)));
    for (const [number, { page }] of pages.entries()) {
      await page.getByTestId("transport").selectOption(wanted.transport);
      await page.getByTestId("media").selectOption("synthetic");
      await page.getByTestId("name").fill(["Alice", "Bob"][number]);
      await page.getByTestId("room").fill("friday");
      await page.getByTestId("join").click();
    }
    const texts = (id) => Promise.all(pages.map(({ page }) => page.getByTestId(id).textContent()));
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
    await pages[0].page.getByTestId("chat-input").fill("hello over there");
    await pages[0].page.getByTestId("chat-send").click();
    await pages[1].page.waitForFunction(() => relais.messages.length > 0, null, { timeout: 10_000 });
    const messages = await pages[1].page.evaluate(() => relais.messages);
    const status = await texts("call-status");
    await pages[0].page.getByTestId("hangup").click();
    await pages[1].page.waitForFunction(() => relais.peers().length === 0, null, { timeout: 10_000 });
    return { stats, transfers, messages, status, complaints: complaintsOf(pages) };
  },
};

async function trialPage(netns) {
  const page = await (await browser(netns)).newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
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
  for (const { context, folder } of open) {
    await Promise.race([context.close().catch(() => {}), new Promise((done) => setTimeout(done, 5000))]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
process.exit(code);
