// Publish and subscribe over the daemon's one session, live. Payloads are strangers' words: text, whatever they look like.

import { $, h, moment, outcome, refused, say, show, took } from './dom.js';
import { call, follow } from './api.js';

const open = new Map();   // filter -> its AbortController
let kept = 0;

/** Arms the forms. */
export function armMessages() {
  $('subscribe-form').addEventListener('submit', (event) => {
    event.preventDefault();
    subscribe($('filter').value.trim());
  });
  $('publish-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const note = $('publish-note');
    outcome(note, 'busy', 'Sent; waits for the cloud…');
    try {
      const { topic, bytes, millis } = await call('POST', '/v1/publish', { topic: $('topic').value.trim(), payload: $('payload').value });
      outcome(note, 'ok', `${topic}: ${size(bytes)}, acknowledged after ${took(millis)}`);
    } catch (error) {
      refused(note, error);
    }
  });
}

/** Fills the fields in for this thing, while nobody has written into them. */
export function drawMessages(status) {
  const thing = status.thingName;
  if (!thing) return;
  for (const [id, value] of [['filter', `device/${thing}/#`], ['topic', `device/${thing}/hello`]]) {
    const field = $(id);
    if (!field.value && !field.dataset.filled) {
      field.value = value;
      field.dataset.filled = thing;
    }
  }
}

/** Ends every subscription: nobody is signed in any more. */
export function endMessages() {
  for (const filter of [...open.keys()]) unsubscribe(filter);
  $('inbox-list').replaceChildren();
  kept = 0;
}

async function subscribe(filter) {
  const note = $('subscribe-note');
  if (open.has(filter)) return outcome(note, 'ok', `${filter} is subscribed already`);
  if (open.size >= MOST) return outcome(note, 'fault', `${MOST} subscriptions at once are what one page takes`, 'end one of them first');
  const ending = new AbortController();
  open.set(filter, ending);
  outcome(note, 'busy', `Asks for ${filter}…`);
  chips();
  let stood = false;
  for (let wait = 1000; !ending.signal.aborted; wait = Math.min(wait * 2, 15000)) {
    try {
      await follow(`/v1/subscribe?filter=${encodeURIComponent(filter)}`, {
        signal: ending.signal,
        heard: (kind, data) => {
          if (kind === 'subscribed') {
            wait = 1000;
            if (stood) gap(`${filter}: subscribed again; what came in between is missing here`);
            stood = true;
            outcome(note, 'ok', `${data.filter} is subscribed`);
            chips(filter);
          } else if (kind === 'message') {
            arrived(data);
          } else if (kind === 'gap') {
            gap(data.text || 'Messages may be missing here');
          } else if (kind === 'ended') {
            refused(note, data);
            if (data.code !== 'stopping') unsubscribe(filter);
          }
        },
      });
    } catch (error) {
      if (error.name === 'AbortError') return;
      refused(note, error);
      if (!error.down && error.code !== 'busy') unsubscribe(filter);
    }
    chips();
    await new Promise((go) => setTimeout(go, wait));
  }
}

function unsubscribe(filter) {
  open.get(filter)?.abort();
  open.delete(filter);
  chips();
}

const standing = new Set();
function chips(stands) {
  if (stands) standing.add(stands);
  else standing.clear();
  $('filters').replaceChildren(...[...open.keys()].map((filter) => {
    const button = h('button', { type: 'button', class: 'quiet', 'aria-label': `End the subscription ${filter}` }, 'End');
    button.addEventListener('click', () => {
      unsubscribe(filter);
      outcome($('subscribe-note'), 'ok', `${filter} is not subscribed any more`);
    });
    return h('li', {}, h('code', {}, filter), button);
  }));
}

function arrived({ time, topic, payload, payloadBase64, retain, dup }) {
  const [text, bytes, how] = payloadBase64 === undefined ? [payload ?? '', new TextEncoder().encode(payload ?? '').length] : decoded(payloadBase64);
  const marks = [size(bytes), how, retain && 'retained', dup && 'perhaps again'].filter(Boolean);
  entry(h('li', {},
    h('p', { class: 'head' }, moment(time, { day: false }), ' ', h('code', {}, topic), ' ', h('span', { class: 'note' }, marks.join(', '))),
    h('pre', {}, text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} characters more` : text)));
}

/** Bytes as text, where they are; else as base64. */
function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  try {
    return [new TextDecoder('utf-8', { fatal: true }).decode(bytes), bytes.length, ''];
  } catch {
    return [base64, bytes.length, 'base64'];
  }
}

function gap(text) {
  entry(h('li', { class: 'gap' }, text));
}

function entry(item) {
  const list = $('inbox-list');
  list.prepend(item);
  kept += 1;
  if (kept > KEPT) {
    list.lastElementChild.remove();
    kept -= 1;
  }
  show($('inbox-empty'), false);
}

const size = (bytes) => (bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KB`);

/** Messages that are kept on the page. */
const KEPT = 200;
/** Characters of one that are shown. */
const LONGEST = 4096;
/** A browser holds six connections to one host; two are the page's own. */
const MOST = 3;
