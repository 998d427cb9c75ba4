// Drives the trial page that the server brings, in few browsers and many steps, and prints what it said as JSON.
//   node page.mjs '{"browser": "chromium", "netns": …, "url": …, "ca": …, "secret": …, "steps": ["happy", …]}'
import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { startChromium, trust } from "./browsers.mjs";
import { startFirefox } from "./firefox.mjs";

const wanted = JSON.parse(process.argv[2]);
const shots = join(import.meta.dirname, "../../target/screenshots");
const now = () => Math.floor(Date.now() / 1000);

/** A time-limited login, as anybody who has the secret makes it. */
function login(name, secret = wanted.secret, expiry = now() + 3600) {
  const username = `${expiry}:${name}`;
  return { username, credential: createHmac("sha1", secret).update(username).digest("base64") };
}

const relays = (account, { tls = wanted.name, port = 5349 } = {}) => [
  { urls: [`stun:${wanted.host}:3478`] },
  { urls: [`turn:${wanted.host}:3478?transport=udp`, `turn:${wanted.host}:3478?transport=tcp`, ...(tls ? [`turns:${tls}:${port}?transport=tcp`] : [])], ...account },
];

/** Rules of a firewall while `work` runs. */
async function firewall(netns, rules, work) {
  const nft = (...words) => execFileSync("ip", ["netns", "exec", netns, "nft", ...words], { stdio: ["pipe", "ignore", "inherit"] });
  nft(`table inet trial { ${rules}\n }`);
  try {
    return await work();
  } finally {
    nft("delete table inet trial");
  }
}

const result = { complaints: [] };
let context;

async function open(url = wanted.url) {
  if (wanted.browser === "firefox") {
    const page = await startFirefox(wanted.netns, { prepare: (folder) => trust(folder, wanted.ca) });
    await page.goto(url);
    await until(page, () => Boolean(window.relais));
    return Object.assign(page, { shot: (name) => shot(page, `firefox-${name}`) });
  }
  context ??= await startChromium(wanted.netns, { ca: wanted.ca, viewport: null });
  const page = await context.newPage();
  // A 404 is no fault of the page: it asks what a server may not offer.
  page.on("pageerror", (error) => result.complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/status of 40[0-9]/.test(message.text()) && result.complaints.push(message.text()));
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await page.goto(url);
  await page.waitForFunction(() => window.relais);
  return Object.assign(page, { shot: (name) => shot(page, name) });
}

function shot(page, name) {
  mkdirSync(shots, { recursive: true });
  return page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

/** Waits until a function of the page says yes. Playwright's own takes the promise of an async one for a yes. */
async function until(page, code, argument) {
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  // Firefox never tells the figures of a connection that is closed meanwhile.
  const look = () => Promise.race([page.evaluate(code, argument), pause(3000)]);
  for (let i = 0; !(await look()); i++) {
    if (i === 300) throw new Error(`never: ${code}; ${await page.evaluate(() => document.getElementById("call-status").innerText)}`);
    await pause(100);
  }
}

const click = (page, id) => page.evaluate((name) => document.getElementById(name).click(), id);

/** Tests with these servers, or with the server's own, and says what the page says. */
async function check(page, { servers, ways } = {}) {
  await page.evaluate(async ({ servers, ways }) => {
    relais.usePasted(servers ?? null);
    await relais.checkAll(ways);
  }, { servers, ways });
  return said(page);
}

const said = (page) => page.evaluate(async () => {
  const text = (one) => one.innerText.replace(/\s+/g, " ").trim();
  const verdict = document.getElementById("verdict");
  const cards = {};
  for (const one of document.querySelectorAll("#checks li")) cards[one.id.slice(6)] = { state: one.dataset.state, text: text(one) };
  const { tests } = await relais.report();
  const causes = {};
  for (const { id, why } of tests) causes[id] = why?.cause ?? null;
  return { state: verdict.dataset.state, verdict: text(verdict), cards, causes, view: text(document.getElementById("view-part")) };
});

const steps = {
  /** All is well: the test, the server's view, the candidates, every form of the iceServers, the report. */
  async happy(page) {
    const out = await check(page, { servers: relays(login("happy")) });
    await page.shot("happy-light");
    const more = await page.evaluate(async () => {
      const $ = (id) => document.getElementById(id);
      const rows = (id) => $(id).rows.length;
      const all = rows("candidates");
      document.querySelector("#filters [value=relay]").click();
      await new Promise((done) => setTimeout(done, 200));
      const filtered = rows("candidates");
      document.querySelector("#filters [value=relay]").click();
      const forms = {};
      for (const option of $("form").options) {
        $("form").value = option.value;
        $("form").dispatchEvent(new Event("change"));
        await new Promise((done) => setTimeout(done, 100));
        forms[option.value] = $("ice").textContent;
      }
      // Plain http: no clipboard, so the old way.
      $("copy-ice").click();
      await new Promise((done) => setTimeout(done, 100));
      const copied = [$("copy-ice").textContent, getSelection().toString().trim() === $("ice").textContent.trim()];
      $("own-servers").click();
      return { all, filtered, forms, copied, report: JSON.stringify(await relais.report()), head: [...document.querySelectorAll("#candidates-part th")].map((th) => th.textContent) };
    });
    return { ...out, ...more };
  },

  /** What it looks like, and whether it fits, on a phone and in the dark. */
  async looks(page) {
    const out = [];
    for (const [name, dark, width, height] of [["dark", true, 1280, 900], ["phone", false, 320, 640], ["phone-dark", true, 390, 800]]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
      await page.shot(`happy-${name}`);
      out.push(await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, view: innerWidth })), await page.evaluate(contrast));
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.emulateMedia({ colorScheme: "light" });
    return { sizes: out.filter((one) => !Array.isArray(one)), contrasts: out.filter(Array.isArray).flat() };
  },

  /** Everything has a name that a screen reader can say, and the keyboard gets everywhere. */
  async access(page) {
    const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select, textarea, a[href], [role=region], img, progress")]
      .filter((one) => one.checkVisibility() && !(one.labels?.[0]?.textContent.trim() || one.textContent.trim() || one.getAttribute("aria-label") || one.title || one.alt)).map((one) => one.outerHTML.slice(0, 80)));
    const headings = await page.evaluate(() => [...document.querySelectorAll("h1, h2, h3")].filter((h) => h.checkVisibility()).map((h) => Number(h.tagName[1])));
    const contrasts = await page.evaluate(contrast);
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    const order = [];
    for (let i = 0; i < 10; i++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent));
    }
    await page.evaluate(() => document.getElementById("check").focus());
    return { nameless, headings, order, contrasts };
  },

  async linter(page) {
    await page.locator("#lint-input").fill(`const pc = new RTCPeerConnection({ iceServers: [{ url: 'turn://${wanted.host}:3478?transport=tls', username: 'u', password: "secret<b>" }, { urls: 'turn:t.relais.test:53', username: '1700000000:x', credential: 'c' }] });`);
    await page.locator("#lint").click();
    await page.locator("#lint-output").waitFor();
    await page.shot("linter");
    const faults = await page.locator("#faults").locator("li").allInnerTexts();
    return { faults, corrected: JSON.parse(await page.locator("#corrected").textContent()), result: await page.locator("#lint-result").textContent() };
  },

  /** By the form for other logins, so that this is tested too. */
  async wrongSecret(page) {
    const { username, credential } = login("stranger", "not the secret of this server at all");
    await page.evaluate(([host, username, credential]) => {
      const put = (id, value) => { document.getElementById(id).value = value; };
      put("try-url", `turn:${host}:3478?transport=udp`);
      put("try-user", username);
      put("try-credential", credential);
      document.getElementById("try").click();
    }, [wanted.host, username, credential]);
    await page.evaluate(async () => {
      while (document.getElementById("pasted").hidden) await new Promise((done) => setTimeout(done, 50));
      await relais.checkAll();
    });
    await page.shot("wrong-secret");
    const out = await said(page);
    return { ...out, pasted: await page.evaluate(() => !document.getElementById("pasted").hidden), report: (await page.evaluate(async () => JSON.stringify(await relais.report()))).includes(credential) };
  },

  /** A server that does not show its view, here one whose proxy keeps it back: what works is seen, and why the rest does not is the browser's word. */
  async unseen(page) {
    await page.evaluate(() => {
      window.honest = fetch;
      window.fetch = (url, ...more) => (String(url).endsWith("/v1/view") ? Promise.resolve(new Response("", { status: 404 })) : honest(url, ...more));
    });
    const good = await check(page, { servers: relays(login("unseen"), { tls: null }) });
    const bad = await check(page, { servers: relays(login("unseen", "not the secret of this server at all"), { tls: null }), ways: ["udp"] });
    await page.shot("unseen");
    await page.evaluate(() => {
      window.fetch = honest;
      relais.usePasted(null);
    });
    return { good, bad };
  },

  expired: (page) => check(page, { servers: relays(login("late", wanted.secret, now() - 720)) }).then(async (out) => { await page.shot("expired"); return out; }),
  quota: (page) => check(page, { servers: relays(login("greedy"), { tls: null }) }),
  mismatch: (page) => check(page, { servers: relays(login("mismatch"), { tls: wanted.otherName }), ways: ["tls"] }).then(async (out) => { await page.shot("tls-mismatch"); return out; }),
  untrusted: (page) => check(page, { servers: relays(login("untrusted")), ways: ["tls"] }),

  udpBlocked: (page) => firewall(wanted.netns, "chain out { type filter hook output priority 0;\n udp dport 3478 drop;\n }", async () => {
    const out = await check(page, { servers: relays(login("udpblocked")), ways: ["udp", "tcp"] });
    await page.shot("udp-blocked");
    return out;
  }),

  rangeBlocked: (page) => firewall(wanted.server, "chain out { type filter hook output priority 0;\n udp sport 49152-65535 drop;\n }\n chain in { type filter hook input priority 0;\n udp dport 49152-65535 drop;\n }", async () => {
    const out = await check(page, { servers: relays(login("range"), { tls: null }), ways: ["tcp", "peers"] });
    await page.shot("range-blocked");
    return out;
  }),

  privatePeer: (page) => check(page, { servers: relays(login("lan"), { tls: null }), ways: ["udp", "peers"] }).then(async (out) => { await page.shot("private-peer"); return out; }),

  /** A room, by two pages. */
  async call(page) {
    const other = await open();
    const room = await page.evaluate(async () => (await relais.join("", { media: "synthetic", name: "Alice" })).room);
    await other.evaluate((name) => relais.join(name, { media: "synthetic", name: "Bob" }).then(() => {}), room);
    await until(page, () => document.querySelectorAll("#members [data-state=connected]").length === 1);
    await until(page, async () => (await relais.stats())?.framesDecoded > 10);
    await until(page, () => document.querySelectorAll("#charts path.line").length >= 2 && Boolean(document.querySelector("#view-allocations td")));
    const qr = await page.evaluate(async () => {
      await document.getElementById("qr").decode();
      return document.getElementById("qr").naturalWidth;
    });
    await click(page, "mute");
    const muted = await page.evaluate(() => [document.getElementById("mute").ariaPressed, document.getElementById("local").srcObject.getAudioTracks()[0].enabled]);
    await other.evaluate(() => relais.chat("hello from over there"));
    await until(page, () => relais.messages.length === 1);
    const sent = await page.evaluate(() => relais.transfer(300_000));
    await page.shot("call");
    const before = (await page.evaluate(() => relais.stats())).pair;
    const choose = (one, value) => one.evaluate((name) => {
      document.getElementById("transport").value = name;
      document.getElementById("transport").dispatchEvent(new Event("change"));
    }, value);
    const over = (one, protocol) => until(one, async (name) => (await relais.stats())?.pair?.relayProtocol === name, protocol);
    await choose(page, "tcp");
    await over(page, "tcp");
    await Promise.all([choose(page, "udp"), choose(other, "tcp")]);
    await Promise.all([over(page, "udp"), over(other, "tcp")]);
    const { members, insecure, chat } = await page.evaluate(() => ({
      members: [...document.querySelectorAll("#members li")].map((one) => one.innerText),
      insecure: document.getElementById("insecure").checkVisibility(), chat: document.getElementById("chat").innerText,
    }));
    await click(page, "hangup");
    await until(other, () => relais.peers().length === 0);
    await choose(page, "any");
    await other.close();
    return { room, qr, muted, before, members, insecure, chat, sent };
  },
};

/** Texts whose contrast with what is behind them is under 4.5 (WCAG 2.2, 1.4.3). Runs in the page. */
function contrast() {
  const rgb = (color) => (color.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) || !one.checkVisibility() || one.closest("figure") || one.disabled) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${one.tagName} ${one.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
}

let code = 0;
let page;
try {
  const late = new Promise((_, no) => setTimeout(() => no(new Error("the steps took too long")), (wanted.seconds ?? 120) * 1000).unref());
  page = await Promise.race([open(), late]);
  for (const name of wanted.steps) {
    const began = Date.now();
    result[name] = await Promise.race([steps[name](page), late]);
    console.error(`   ${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
  }
  console.log(JSON.stringify(result));
} catch (error) {
  console.error(String(error.stack ?? error), JSON.stringify(result.complaints));
  code = 1;
} finally {
  await Promise.race([(context ?? page)?.close().catch(() => {}), new Promise((done) => setTimeout(done, 5000))]);
}
process.exit(code);
