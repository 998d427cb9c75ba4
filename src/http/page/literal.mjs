// Reads an object literal as people paste it (JSON, bare keys, single quotes, comments, trailing commas, a
// `new RTCPeerConnection(…)` around it) without running anything. What it cannot know the value of becomes an Unknown.

export class Unknown {
  constructor(name) { this.name = name; }
}

const WORDS = { true: true, false: false, null: null, undefined: undefined, True: true, False: false, None: null };
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', 0: '\0', '\n': '' };
const BLANK = /^(?:\s|\/\/.*|\/\*[^]*?\*\/|#.*)+/;
const STRING = /^(?:"(?:\\[^]|[^"\\\n])*"|'(?:\\[^]|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`)/;
const WORD = /^[\w$.\u2026<>-]+/;
const MAX_DEPTH = 32;

const unquote = (text) => text.slice(1, -1).replace(/\\(?:u\{([\da-f]+)\}|u([\da-f]{4})|x([\da-f]{2})|([^]))/gi, (_, a, b, c, d) => {
  if (d !== undefined) return ESCAPES[d] ?? d;
  const point = parseInt(a ?? b ?? c, 16);
  return point > 0x10ffff ? '\uFFFD' : String.fromCodePoint(point);
});

/** The value; throws an Error with `key`, what is wrong, and `at`, where in the text. */
export function parseLiteral(text) {
  let at = 0;
  const fail = (key, what) => { throw Object.assign(new Error(key), { key, what, at }); };
  const take = (pattern) => {
    const found = pattern.exec(text.slice(at))?.[0] ?? '';
    at += found.length;
    return found;
  };
  const peek = () => { take(BLANK); return text[at]; };
  const quoted = () => unquote(take(STRING) || fail('unclosedString'));
  const word = () => take(WORD) || fail(at < text.length ? 'unexpected' : 'unfinished', text[at]);
  const list = (close, one) => {
    for (at += 1; peek() !== close;) {
      one();
      if (/[,;]/.test(peek() ?? '')) at += 1;
      else if (text[at] !== close) fail(at < text.length ? 'missingComma' : 'unfinished', text[at]);
    }
    at += 1;
  };
  const value = (depth) => {
    const c = peek();
    if (depth > MAX_DEPTH) fail('tooDeep');
    let out;
    if (c === '{') {
      out = {};
      list('}', () => {
        const key = /["'`]/.test(text[at]) ? quoted() : word();
        // { iceServers } in short has no value of its own.
        const member = /[:=]/.test(peek() ?? '') ? (take(/^(=>|.)/), value(depth + 1)) : new Unknown(key);
        Object.defineProperty(out, key, { value: member, enumerable: true, configurable: true, writable: true });
      });
      return out;
    }
    if (c === '[') {
      out = [];
      list(']', () => out.push(value(depth + 1)));
      return out;
    }
    if (/["'`]/.test(c ?? '')) {
      out = quoted();
      if (c === '`' && out.includes('${')) out = new Unknown(out);
    } else {
      const name = word();
      if (Object.hasOwn(WORDS, name)) out = WORDS[name];
      else out = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(name) ? Number(name) : new Unknown(name);
    }
    // What is put together at run time is not known here: "a" + b, secret("x"), process.env["Y"].
    return /[+([]/.test(peek() ?? '') ? new Unknown(`… ${take(/^(\([^)]*\)|\[[^\]]*\]|[^,}\])\n;])*/).trim()}`) : out;
  };
  const bare = text.trim().replace(/^["'`]|["'`,;]+$/g, '');
  if (/^(stuns?|turns?):/i.test(bare)) return { urls: bare };
  // What stands in front of the literal (const x =, new RTCPeerConnection() does not matter.
  at = text.search(/[[{]/);
  if (at < 0) fail('nothing', (at = 0));
  const before = text.slice(0, at);
  const out = value(0);
  // `"iceServers": […]` without its braces.
  return Array.isArray(out) && /iceServers["']?\s*[:=]\s*$/.test(before) ? { iceServers: out } : out;
}
