// Small tools of the page: elements, text, times. Whatever comes from outside becomes text, never markup.

export const $ = (id) => document.getElementById(id);

/** Makes an element: attributes by name, `class` included; children are elements or text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined && c !== ''));
  return element;
}

/** Sets an element's text, where it is another: readers of the screen are not told the same twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides. */
export function show(element, yes) {
  element.hidden = !yes;
}

/** Says how an order ended, beneath its button. */
export function outcome(element, kind, text, fix = '') {
  element.dataset.kind = kind;
  element.replaceChildren(text, ...(fix ? [h('span', { class: 'fix' }, fix)] : []));
}

/** The refusal of an order, in words. */
export function refused(element, error) {
  outcome(element, 'fault', error.detail || error.message, error.remedy);
}

// The daemon's clock, as far as its last status told it.
let ahead = 0;
export const clock = {
  set: (iso) => { ahead = Date.parse(iso) - Date.now(); },
  now: () => Date.now() + ahead,
};

const NEAR_DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** A moment; with its time, the year is left out where it is this one. */
export function moment(iso, { time = true, day = true } = {}) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return document.createTextNode('—');
  const text = [day && (time && at.getFullYear() === new Date(clock.now()).getFullYear() ? NEAR_DAY : DAY).format(at), time && TIME.format(at)].filter(Boolean).join(', ');
  return h('time', { datetime: iso, title: at.toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC') }, text);
}

/** A span of time in its two largest units. */
export function span(ms) {
  let rest = Math.max(0, Math.round(Math.abs(ms) / 1000));
  const parts = [];
  for (const [unit, seconds] of [['y', 31557600], ['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
    const n = Math.floor(rest / seconds);
    if (n > 0 || (unit === 's' && parts.length === 0)) {
      if (parts.length < 2) parts.push(`${n} ${unit}`);
      rest -= n * seconds;
    } else if (parts.length) {
      break;
    }
  }
  return parts.join(' ');
}

export const ago = (iso) => span(clock.now() - Date.parse(iso));

/** How long a step took. */
export const took = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The beginning of a certificate id. */
export const short = (id) => (id ? id.slice(0, 12) : '');
