// Debian's Firefox in a network namespace, driven over WebDriver BiDi: the little of it that the scenarios need.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const here = import.meta.dirname;

// A camera that is not there, without a question, and nothing asked of Mozilla's services.
const PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.getusermedia.insecure.enabled": true,
  "app.normandy.enabled": false,
  "app.update.enabled": false,
  "browser.safebrowsing.downloads.enabled": false,
  "browser.safebrowsing.malware.enabled": false,
  "browser.safebrowsing.phishing.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "extensions.update.enabled": false,
  "media.gmp-manager.updateEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "network.trr.mode": 5,
  "security.OCSP.enabled": 0,
  "services.settings.server": "data:,#remote-settings-dummy/v1",
  "toolkit.telemetry.enabled": false,
};

/** Starts Firefox; `prepare(folder)` may put more into its profile. */
export async function startFirefox(netns, { prepare, preferences } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "relais-firefox-"));
  const lines = Object.entries({ ...PREFERENCES, ...preferences }).map(([key, value]) => `user_pref(${JSON.stringify(key)}, ${JSON.stringify(value)});\n`);
  writeFileSync(join(folder, "user.js"), lines.join(""));
  prepare?.(folder);
  const child = spawn("ip", ["netns", "exec", netns, process.execPath, join(here, "bidi-pipe.mjs"), folder], {
    env: { ...process.env, HOME: folder, MOZ_HEADLESS: "1" }, stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map();
  let last = 0;
  let ended = null;
  const end = (why) => {
    ended ??= new Error(why);
    for (const { no } of waiting.values()) no(ended);
    waiting.clear();
  };
  child.stdin.on("error", () => end("Firefox is gone"));
  child.on("exit", (code) => end(`Firefox ended with ${code}`));
  createInterface({ input: child.stdout }).on("line", (line) => {
    const message = JSON.parse(line);
    const { yes, no } = waiting.get(message.id) ?? {};
    if (!yes) return;
    waiting.delete(message.id);
    if (message.type === "success") yes(message.result);
    else no(new Error(`Firefox: ${message.error}: ${message.message}`));
  });
  const order = (method, params) => new Promise((yes, no) => {
    if (ended) return no(ended);
    waiting.set(++last, { yes, no });
    child.stdin.write(`${JSON.stringify({ id: last, method, params })}\n`);
  });
  await order("session.new", { capabilities: {} });
  const context = (await order("browsingContext.getTree", {})).contexts[0].context;
  return {
    goto: (url) => order("browsingContext.navigate", { context, url, wait: "complete" }),
    /** Like a page of playwright: calls the function in the page, with one argument, and returns what it returns. */
    async evaluate(code, argument) {
      const { type, result, exceptionDetails } = await order("script.callFunction", {
        functionDeclaration: `async (json) => JSON.stringify((await (${code})(JSON.parse(json))) ?? null)`,
        arguments: [{ type: "string", value: JSON.stringify(argument ?? null) }],
        target: { context }, awaitPromise: true,
      });
      if (type !== "success") throw new Error(`Firefox: ${exceptionDetails?.text}`);
      return JSON.parse(result.value);
    },
    /** The whole page, as a PNG file. */
    async screenshot({ path }) {
      const { data } = await order("browsingContext.captureScreenshot", { context, origin: "document" });
      writeFileSync(path, Buffer.from(data, "base64"));
    },
    async close() {
      const gone = new Promise((done) => (child.exitCode === null ? child.once("exit", done) : done()));
      child.stdin.end();
      await gone;
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
