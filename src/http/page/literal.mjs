// Reads a JavaScript object literal as people paste it (JSON, bare keys, single quotes, comments, trailing commas, a
// `new RTCPeerConnection(…)` around it) without running anything. A name it cannot know the value of becomes an Unknown.

export class Unknown {
  constructor(name) { this.name = name; }
}

const WORDS = { true: true, false: false, null: null, undefined: undefined, True: true, False: false, None: null };
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', 0: '\0' };
const MAX_DEPTH = 32;

/** `{value, rest}`; throws an Error with `at`, the place in the text. */
export function parseLiteral(text) {
  let at = 0;
  const fail = (key, what) => { throw Object.assign(new Error(key), { key, what, at }); };
  const blank = () => {
    const gap = /(?:[\s\uFEFF]|\/\/.*|\/\*[^]*?\*\/|#.*)*/y;
    gap.lastIndex = at;
    gap.exec(text);
    at = gap.lastIndex;
  };
  const quoted = (quote) => {
    let out = '';
    for (at += 1; at < text.length; at += 1) {
      const c = text[at];
      if (c === quote) { at += 1; return out; }
      if (c === '\n' && quote !== '`') fail('unclosedString');
      if (c !== '\\') { out += c; continue; }
      at += 1;
      const e = text[at];
      const code = e === 'u' ? /^u\{?([0-9a-f]{1,6})\}?/i.exec(text.slice(at, at + 10)) : e === 'x' ? /^x([0-9a-f]{2})/i.exec(text.slice(at, at + 3)) : null;
      if (code) {
        const braces = code[0][1] === '{';
        const digits = e === 'u' && !braces ? code[1].slice(0, 4) : code[1];
        const point = parseInt(digits, 16);
        out += point <= 0x10ffff ? String.fromCodePoint(point) : '\uFFFD';
        at += braces ? code[0].length - 1 : digits.length;
      } else if (e !== '\n') {
        out += ESCAPES[e] ?? e ?? '';
      }
    }
    return fail('unclosedString');
  };
  const word = () => {
    const name = /[\w$.\u2026<>-]+/y;
    name.lastIndex = at;
    const found = name.exec(text);
    if (!found) fail(at >= text.length ? 'unfinished' : 'unexpected', text[at]);
    at = name.lastIndex;
    return found[0];
  };
  const list = (close, one) => {
    at += 1;
    for (;;) {
      blank();
      if (text[at] === close) { at += 1; return; }
      one();
      blank();
      if (text[at] === ',' || text[at] === ';') at += 1;
      else if (text[at] !== close) fail(at >= text.length ? 'unfinished' : 'missingComma', text[at]);
    }
  };
  const value = (depth) => {
    blank();
    if (depth > MAX_DEPTH) fail('tooDeep');
    const c = text[at];
    if (c === '{') {
      const out = {};
      list('}', () => {
        const key = /['"`]/.test(text[at]) ? quoted(text[at]) : word();
        blank();
        if (text[at] === ':' || text[at] === '=') {
          at += text[at + 1] === '>' ? 2 : 1;
          Object.defineProperty(out, key, { value: value(depth + 1), enumerable: true, configurable: true, writable: true });
        } else {
          out[key] = new Unknown(key); // { iceServers } in short
        }
      });
      return out;
    }
    if (c === '[') {
      const out = [];
      list(']', () => out.push(value(depth + 1)));
      return out;
    }
    let out;
    if (/['"`]/.test(c ?? '')) {
      out = quoted(c);
      if (c === '`' && /\$\{/.test(out)) out = new Unknown(out);
    } else {
      const name = word();
      if (Object.hasOwn(WORDS, name)) out = WORDS[name];
      else out = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(name) ? Number(name) : new Unknown(name);
    }
    // What is put together at run time is not known here: "a" + b, secret("x"), process.env["Y"].
    blank();
    if (/[+([]/.test(text[at] ?? '')) {
      const from = at;
      let open = 0;
      for (; at < text.length; at += 1) {
        if (/[([]/.test(text[at])) open += 1;
        else if (/[)\]]/.test(text[at])) { if (!open) break; open -= 1; } else if (!open && /[,}\n;]/.test(text[at])) break;
      }
      return new Unknown(`… ${text.slice(from, at).trim()}`);
    }
    return out;
  };
  // What stands in front of the literal (const x =, new RTCPeerConnection() does not matter.
  const bare = text.trim().replace(/^["'`]|["'`,;]+$/g, '');
  if (/^(stuns?|turns?):/i.test(bare)) return { urls: bare };
  const start = text.search(/[[{]/);
  if (start < 0) fail('nothing');
  at = start;
  const out = value(0);
  // `"iceServers": […]` without its braces.
  if (Array.isArray(out) && /iceServers["']?\s*[:=]\s*$/.test(text.slice(0, start))) return { iceServers: out };
  return out;
}
