// What the scripts of this folder share: two ends that send one another messages and compare.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

const MESSAGES = 200;

/** Messages that came and were not yet asked for. */
export class Inbox {
  messages = [];
  waiting = [];

  put(message) {
    const next = this.waiting.shift();
    if (next) next(message);
    else this.messages.push(message);
  }

  get() {
    if (this.messages.length) return Promise.resolve(this.messages.shift());
    return new Promise((done) => this.waiting.push(done));
  }
}

async function exchange(send, inbox) {
  let good = 0;
  for (let number = 0; number < MESSAGES; number++) {
    const head = createHash("sha256").update(String(number)).digest();
    const message = Buffer.concat([head, randomBytes(number * 20)]);
    send(message);
    good += Buffer.compare(Buffer.from(await inbox.get()), message) === 0 ? 1 : 0;
  }
  return good;
}

export const version = (name) => JSON.parse(readFileSync(new URL("package.json", import.meta.url))).dependencies[name];

/** The kinds of the candidates in descriptions or candidate lines. */
export const kinds = (texts) => [...new Set(texts.flatMap((text) => [...text.matchAll(/ typ (\w+)/g)].map((m) => m[1])))].sort();

/** Sends both ways between two ends, each { send, inbox }, and prints the result. */
export async function report(library, left, right, candidates) {
  const there = await exchange(left.send, right.inbox);
  const back = await exchange(right.send, left.inbox);
  console.log(JSON.stringify({ library, candidates, wanted: MESSAGES, there, back }));
}

export function run(main) {
  setTimeout(() => {
    console.error("it took too long");
    process.exit(1);
  }, 40_000);
  main().then(() => process.exit(0), (error) => {
    console.error(String(error?.stack ?? error));
    process.exit(1);
  });
}
