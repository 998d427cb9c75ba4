// Small tools for the document, and how figures and codes are said.

export const $ = (id) => document.getElementById(id);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
/** An address beside the page, also behind a proxy that puts it into a folder. */
export const here = (path) => new URL(path, location.href.split(/[?#]/)[0]);

/** What the server answers; an Error in its words, with its `status`, if it refuses. */
export async function ask(path, options) {
  const answer = await fetch(here(path), options);
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const { message = `The server answered ${answer.status}.`, help = '' } = body.error ?? {};
  throw Object.assign(new Error(`${message} ${help}`), { status: answer.status });
}

/** `el('p.dim', { title: 'x' }, 'text', …)`; `state` is the colour. Text is never HTML, and what is empty is left out. */
export function el(name, ...children) {
  const [tag, className = ''] = name.split('.');
  const { state = '', ...props } = children[0]?.constructor === Object ? children.shift() : {};
  const made = Object.assign(document.createElement(tag), { className, ...props });
  if (state) made.dataset.state = state;
  made.append(...children.filter((child) => child || child === 0));
  return made;
}

export const row = (cells, props = {}) => el('tr', props, ...cells.map((cell) => (cell instanceof Node ? cell : el('td', cell))));

/** The rows of a table, or a word where there are none. */
export function fill(id, rows, none) {
  const { length } = $(id).closest('table').rows[0].cells;
  $(id).replaceChildren(...(rows.length ? rows : [row([el('td.dim', { colSpan: length }, none)])]));
}

/** A line of text with a mood: good, warn, bad, or none. */
export function tell(id, text, mood = '') {
  const place = $(id);
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = mood;
}

/** What each button does. None works twice at once, and a failure is said in its section, not lost in the console. */
export function buttons(actions) {
  for (const [id, work] of Object.entries(actions)) {
    const place = $(id);
    place.onclick = async () => {
      if (place.ariaBusy === 'true') return;
      place.ariaBusy = 'true';
      try {
        await work();
      } catch (error) {
        tell(place.closest('section').querySelector('p[role=status]').id, error.message, 'bad');
      } finally {
        place.ariaBusy = 'false';
      }
    };
  }
}

/** Copies what stands in a field or another element, and says so in its button. */
export async function copy(id) {
  const place = $(id);
  try {
    await navigator.clipboard.writeText(place.value ?? place.textContent);
  } catch {
    // The clipboard needs https; the old way does not.
    if (place.select) place.select();
    else getSelection().selectAllChildren(place);
    document.execCommand('copy');
  }
  const button = $(`copy-${id}`);
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

export function save(name, text) {
  const href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  el('a', { href, download: name }).click();
}

export const count = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;

const SPANS = [[172800, 86400, 'day'], [5400, 3600, 'hour'], [90, 60, 'minute'], [-Infinity, 1, 'second']];
/** So many seconds, in the unit that suits them. */
export function span(seconds) {
  const [, size, unit] = SPANS.find(([least]) => seconds >= least);
  return count(Math.max(0, Math.round(seconds / size)), unit);
}

const amount = (value, unit, digits = value > 0 && value < 10 ? 1 : 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ${unit}` : '–');
export const ms = (value) => amount(value, 'ms');
export const percent = (value) => amount(value, '%');
export const rate = (kbit) => (kbit >= 1000 ? amount(kbit / 1000, 'Mbit/s', 1) : amount(kbit, 'kbit/s', 0));
export const bytes = (n) => (n >= 1e6 ? amount(n / 1e6, 'MB', 1) : n >= 1000 ? amount(n / 1000, 'kB', 1) : `${n} B`);
export const list = (words) => new Intl.ListFormat('en-GB').format(words);

// What a server or browser means (RFC 8656 §19, RFC 8489 §14.8), and what helps.
const CODES = {
  300: ['The server sends us to another server.'],
  400: ['The server did not understand us.', 'Something in between may change packets.'],
  401: ['The server refuses the login.', 'Name, credential or secret are wrong, or it has expired. Get fresh iceServers.'],
  403: ['The server forbids it.', 'Its rules deny this peer address (peers.allow), or it is stopping.'],
  420: ['The server does not know an attribute.', 'Is it a TURN server, and recent?'],
  437: ['This port still has an allocation.', 'Try again: the next attempt uses another.'],
  438: ['The nonce was too old.', 'Browsers try again; a NAT that changes ports causes it too.'],
  440: ['The server does not relay IPv4, or IPv6.', 'See relay.addresses.'],
  441: ['The allocation belongs to other credentials.', 'Wait until it has expired.'],
  442: ['The server does not relay over that transport.'],
  443: ['One of relay and peer has IPv4, the other IPv6.'],
  486: ['This user has too many allocations.', 'Wait until some end, or raise limits.allocations_per_user.'],
  500: ['The server has a fault.', 'Its log says more.'],
  508: ['The server has no relay port or memory left.', 'See relay.ports.'],
  600: ['The browser could not send.', 'A firewall or an extension may forbid it.'],
  701: ['No answer from the server.', 'Wrong address or port, nothing listens there, or a firewall is in between.'],
  dns: ['The browser finds no address of the server.', 'Its name must be in DNS. Is it misspelt?'],
};
export const isLookup = (text) => /lookup/i.test(text ?? '');
/** `[what it means, what helps]` of an error with its code and the browser's own text. */
export const ofCode = (code, text) => CODES[isLookup(text) ? 'dns' : code] ?? [`Error ${code} ${text}.`];
