// The table of candidates and of the errors on the way to them.
import { T } from './strings.mjs';
import { $, row, el } from './ui.mjs';

const MOST = 400;
export const log = [];

/** Watches a connection; `onerror` gets `{code, text, url}`. */
export function watch(pc, label, onerror = () => {}) {
  const begun = performance.now();
  const time = () => Math.round(performance.now() - begun);
  pc.addEventListener('icecandidate', ({ candidate }) => {
    if (!candidate?.candidate) return;
    const words = candidate.candidate.replace(/^candidate:/, '').split(' ');
    add({
      time: time(), label, type: candidate.type ?? words[7], foundation: candidate.foundation ?? words[0],
      protocol: candidate.protocol ?? words[2]?.toLowerCase(), address: candidate.address ?? words[4], port: candidate.port ?? Number(words[5]),
      priority: candidate.priority ?? Number(words[3]), url: candidate.url ?? '', relayProtocol: candidate.relayProtocol ?? '',
    });
  });
  pc.addEventListener('icecandidateerror', (event) => {
    const error = { code: event.errorCode, text: event.errorText ?? '', url: event.url ?? '' };
    onerror(error);
    const words = T.code(error.code, error.text).join(' ');
    add({ time: time(), label, type: 'error', code: error.code, text: `${error.code}: ${words}`, url: error.url, address: event.address ?? '', port: event.port ?? '' });
  });
}

/** The priority in its parts (RFC 8445 §5.1.2.1): type preference, local preference, component. */
const priority = (value) => `${value >>> 24} | ${(value >>> 8) & 0xffff} | ${256 - (value & 255)}`;

/** Begins anew. */
export function forget() {
  log.length = 0;
  render();
}

function add(one) {
  log.push(one);
  if (log.length > MOST) log.shift();
  render();
}

/** The boxes of the filter. */
export const makeFilters = () => Object.entries(T.types).forEach(([value, text]) => $('filters').firstElementChild.append(el('label', { className: 'switch' }, el('input', { type: 'checkbox', value, checked: true }), el('span', {}, text))));

let pending = 0;
export function render() {
  pending ||= setTimeout(() => {
    pending = 0;
    const types = new Set([...document.querySelectorAll('#filters input:checked')].map((box) => box.value));
    const protocol = $('filter-protocol').value;
    const fits = log.filter((one) => types.has(one.type) && (protocol === 'any' || one.type === 'error' || one.protocol === protocol || one.relayProtocol === protocol));
    $('candidates').replaceChildren(...(fits.length ? fits.map(line) : [row([el('td', { colSpan: 10, className: 'dim' }, log.length ? T.page.noneFit : T.page.noneYet)])]));
    $('candidate-count').textContent = log.length ? T.shownOf(fits.length, log.length) : '';
  }, 60);
}

function line(one) {
  if (one.type === 'error') return row([one.time, one.label, T.page.errorType, el('td', { colSpan: 6, className: 'why' }, one.text), one.url], 'bad');
  const p = el('td', { title: String(one.priority) }, priority(one.priority));
  return row([one.time, one.label, one.type, one.foundation, one.protocol, one.address || T.page.hidden, one.port, p, one.relayProtocol, one.url]);
}
