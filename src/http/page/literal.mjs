// Reads an object literal as people paste it (JSON, bare keys, single quotes, comments, trailing commas, a
// `new RTCPeerConnection(…)` around it) without running anything. What it cannot know the value of becomes an Unknown.

export class Unknown {
  constructor(name) { this.name = name; }
}

const WORDS = { true: true, false: false, null: null, undefined: undefined, True: true, False: false, None: null };
const ESCAPES = { n: '\n', t: '\t', r: '\r', '\n': '' };
const BLANK = /^(?:\s|\/\/.*|\/\*[^]*?\*\/|#.*)+/;
const QUOTE = /["'`]/;
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
  const fail = (key) => { throw Object.assign(new Error(key), { key, what: text[at], at }); };
  const take = (pattern) => {
    const found = pattern.exec(text.slice(at))?.[0] ?? '';
    at += found.length;
    return found;
  };
  const peek = () => {
    take(BLANK);
    return text[at] ?? '';
  };
  const quoted = () => unquote(take(STRING) || fail('unclosedString'));
  const word = () => take(WORD) || fail(at < text.length ? 'unexpected' : 'unfinished');
  const list = (close, one) => {
    for (at += 1; peek() !== close;) {
      one();
      if (/[,;]/.test(peek())) at += 1;
      else if (text[at] !== close) fail(at < text.length ? 'missingComma' : 'unfinished');
    }
    at += 1;
  };
  const member = (depth) => {
    const key = QUOTE.test(text[at]) ? quoted() : word();
    // { iceServers } in short has no value of its own.
    return [key, /[:=]/.test(peek()) ? (take(/^(=>|.)/), value(depth)) : new Unknown(key)];
  };
  const single = (start) => {
    if (QUOTE.test(start)) {
      const said = quoted();
      return start === '`' && said.includes('${') ? new Unknown(said) : said;
    }
    const name = word();
    if (Object.hasOwn(WORDS, name)) return WORDS[name];
    return /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(name) ? Number(name) : new Unknown(name);
  };
  const value = (depth) => {
    const start = peek();
    const all = [];
    if (depth > MAX_DEPTH) fail('tooDeep');
    if (start === '{') list('}', () => all.push(member(depth + 1)));
    else if (start === '[') list(']', () => all.push(value(depth + 1)));
    else {
      const out = single(start);
      // What is put together at run time is not known here: "a" + b, secret("x"), process.env["Y"].
      return /[+([]/.test(peek()) ? new Unknown(`… ${take(/^(\([^)]*\)|\[[^\]]*\]|[^,}\])\n;])*/).trim()}`) : out;
    }
    return start === '{' ? Object.fromEntries(all) : all;
  };
  const bare = text.trim().replace(/^["'`]|["'`,;]+$/g, '');
  if (/^(stuns?|turns?):/i.test(bare)) return { urls: bare };
  // What stands in front of the literal (const x =, new RTCPeerConnection() does not matter.
  const begin = text.search(/[[{]/);
  if (begin < 0) fail('nothing');
  at = begin;
  const out = value(0);
  // `"iceServers": […]` without its braces.
  return Array.isArray(out) && /iceServers["']?\s*[:=]\s*$/.test(text.slice(0, begin)) ? { iceServers: out } : out;
}
