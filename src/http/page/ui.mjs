// Small tools for the document: finding, making, filling, copying. All words come from the table of texts.
import { T } from './strings.mjs';

export const $ = (id) => document.getElementById(id);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
/** An address beside the page, also behind a proxy that puts it into a folder. */
export const here = (path) => new URL(path, location.href.split(/[?#]/)[0]);

/** An element; `props` are properties, `data` its data attributes, `aria` its ARIA ones. Text is never HTML. */
export function el(tag, props = {}, ...children) {
  const { data, aria, ...rest } = props;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria ?? {})) made.setAttribute(name === 'role' ? name : `aria-${name}`, value);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return made;
}

export const row = (cells, className = '') => el('tr', { className }, ...cells.map((cell) => (cell instanceof Node ? cell : el('td', {}, String(cell ?? '')))));

/** Puts the words of the table where the document names them. */
export function translate(root = document) {
  const find = (name) => root.querySelectorAll(`[data-${name}]`);
  find('t').forEach((one) => { one.textContent = T.page[one.dataset.t]; });
  find('label').forEach((one) => one.setAttribute('aria-label', T.page[one.dataset.label]));
  find('hint').forEach((one) => one.setAttribute('placeholder', T.page[one.dataset.hint]));
  find('heads').forEach((one) => one.append(...one.dataset.heads.split(' ').map((key) => el('th', { scope: 'col' }, T.th[key]))));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard needs https; the old way does not.
    const field = el('textarea', { value: text, className: 'away' });
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
    focused?.focus();
  }
}

export function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A line of text with a mood: good, warn, bad, or none. */
export function tell(id, text, mood = '') {
  const place = $(id);
  if (place.textContent !== text) place.textContent = text;
  place.dataset.mood = mood;
}

/** What a button does. It cannot be pressed twice at once, and a failure is shown, not lost in the console. */
export const button = (id, work, show = () => {}) => $(id).addEventListener('click', async () => {
  const place = $(id);
  if (place.getAttribute('aria-busy') === 'true') return;
  place.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (error) {
    show(error.message);
  } finally {
    place.removeAttribute('aria-busy');
  }
});

/** Says for a moment that something was done, in the button itself. */
export function done(place, text = T.page.copied) {
  const before = place.textContent;
  if (place.dataset.done) return;
  place.dataset.done = 'yes';
  place.textContent = text;
  setTimeout(() => { place.textContent = before; delete place.dataset.done; }, 1500);
}
