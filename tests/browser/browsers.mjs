// Debian's Chromium in a network namespace.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** A browser context whose close() also removes its profile. `more` goes to playwright. */
export async function startChromium(netns, { ca, args = [], ...more } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "relais-chromium-"));
  const database = join(folder, ".pki/nssdb");
  mkdirSync(database, { recursive: true });
  trust(database, ca);
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: join(import.meta.dirname, "chromium"),
    env: { ...process.env, RELAIS_NETNS: netns, HOME: folder },
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
      ...args,
    ],
    ...more,
  });
  const close = context.close.bind(context);
  context.close = async () => {
    await close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  context.setDefaultTimeout(60_000);
  return context;
}

/** Puts the test's own certificate authority into an NSS database, as an operator's users would. */
export function trust(database, ca) {
  if (!ca) return;
  const certutil = (...words) => execFileSync("certutil", ["-d", `sql:${database}`, ...words], { stdio: ["ignore", "ignore", "inherit"] });
  certutil("-N", "--empty-password");
  certutil("-A", "-n", "relais test", "-t", "C,,", "-i", ca);
}
