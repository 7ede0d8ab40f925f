// Who the device is and how its certificate ages: the head of the page, the identity card, alerts, provisioning.

import { $, ago, clock, h, moment, outcome, refused, say, short, show, span } from './dom.js';
import { call } from './api.js';

const RULES = {
  'max-age': 'by its age', 'renew-before': 'before it expires', order: 'as ordered', cloud: 'as the cloud ordered',
  fallback: 'by the claim',
};
const LINKS = {
  up: ['on', 'Connected'], down: ['off', 'Not connected'], offline: ['off', 'Taken offline'], contested: ['bad', 'Contested'],
  none: ['off', 'No session yet'],
};

/** Draws everything that the status says of the identity. */
export function drawIdentity(status) {
  document.title = `${status.thingName || 'no identity'} · certrotd console`;
  say($('version'), status.version);
  say($('thing'), status.thingName || 'No identity yet');
  drawVerdict(status);
  drawLink(status);
  drawAlerts(status.alerts);
  show($('provision'), !status.certificate);
  show($('identity'), Boolean(status.certificate));
  if (status.certificate) {
    drawLife(status);
    drawFacts(status);
  } else {
    drawProvision(status);
  }
}

function drawVerdict(status) {
  const parts = [capital(status.why || status.state)];
  if (status.until) parts.push(parts[0].includes('until') ? ': ' : ' · until ', moment(status.until));
  const key = parts.map((p) => p.textContent ?? p).join('');
  const place = $('verdict');
  if (place.textContent !== key) place.replaceChildren(...parts);
}

function drawLink(status) {
  const offline = status.state === 'disconnected';
  const kind = status.connected ? 'up' : offline ? 'offline' : status.state === 'contested' ? 'contested'
    : status.certificate ? 'down' : 'none';
  const [lamp, word] = LINKS[kind];
  $('lamp').dataset.lamp = lamp;
  say($('link-word'), word);
  const { since, text, remedy, retryAt } = status.connection;
  const why = [];
  if (status.connected && since) why.push(`for ${ago(since)}, one MQTT session`);
  if (!status.connected && !offline && text) why.push(capital(text));
  if (!status.connected && remedy && text && !offline) why.push(`fix: ${remedy}`);
  if (retryAt) why.push(`tried again in ${span(Date.parse(retryAt) - clock.now())}`);
  say($('link-why'), why.join('. '));
  show($('connect'), !status.connected && (offline || Boolean(status.certificate)));
  show($('disconnect'), !offline && Boolean(status.certificate));
  show($('orders'), Boolean(status.certificate));
}

function drawAlerts(alerts) {
  show($('alerts'), alerts.length > 0);
  const key = JSON.stringify(alerts);
  if ($('alert-list').dataset.key === key) return;
  $('alert-list').dataset.key = key;
  $('alert-list').replaceChildren(...alerts.map((alert) => h('li', { 'data-level': alert.level },
    h('strong', {}, alert.code), ' ', alert.text, alert.remedy ? h('span', { class: 'fix' }, alert.remedy) : '')));
}

/** The bar: to the left of its break the time until the rotation is due, to the right the rest until expiry. */
function drawLife(status) {
  const { notBefore, notAfter } = status.certificate;
  const [born, dead, now] = [notBefore, notAfter, status.now].map((t) => Date.parse(t));
  const due = status.rotation.dueAt ? Date.parse(status.rotation.dueAt) : null;
  const turn = due ? Math.min(Math.max(due, born + 1), dead) : dead;
  const width = due && turn < dead ? BREAK : 100;
  const part = (from, to) => Math.min(1, Math.max(0, (now - from) / Math.max(1, to - from)));
  const at = now <= turn ? part(born, turn) * width : width + part(turn, dead) * (100 - width);
  const life = $('life');
  life.style.setProperty('--turn', `${width}%`);
  life.style.setProperty('--now', `${at}%`);
  life.style.setProperty('--grown', `${part(born, turn) * 100}%`);
  const overdue = due ? now - due : -1;
  life.dataset.mood = now >= dead ? 'dead' : overdue > NOW ? 'late' : 'well';
  const age = span(now - born);
  const left = now >= dead ? `expired ${span(now - dead)} ago` : `expires in ${span(dead - now)}`;
  const when = overdue > NOW ? `overdue by ${span(overdue)}` : overdue >= 0 ? 'now' : `in ${span(overdue)}`;
  const next = due ? `rotation ${when}` : 'no rotation is planned';
  life.setAttribute('aria-label', `Certificate: ${age} old; ${next}; ${left}`);
  const mark = (place, name, iso, note) => h('li', { 'data-place': place }, h('span', { class: 'name' }, name), moment(iso, { time: false }), h('span', { class: 'note' }, note));
  $('marks').replaceChildren(
    mark('born', 'Issued', notBefore, `${age} old`),
    due ? mark('due', status.rotation.enabled ? 'Rotates' : 'Would rotate', status.rotation.dueAt, when) : '',
    mark('dead', 'Expires', notAfter, now >= dead ? `${span(now - dead)} ago` : `in ${span(dead - now)}`),
  );
}

function drawFacts(status) {
  const { certificate, rotation, retire, hooks } = status;
  const failed = hooks.results.filter((hook) => !hook.ok && !hook.pending);
  const waiting = hooks.results.filter((hook) => hook.pending).length;
  const rows = [
    ['Serial', status.serial || '—', 'mono'],
    ['Certificate', h('span', { title: certificate.id }, `${short(certificate.id)}…`), 'mono'],
    ['Key', certificate.keyType, 'mono'],
    ['Generation', String(certificate.generation), 'mono'],
    ['Next rotation', rotation.enabled
      ? h('span', {}, rotation.dueAt ? moment(rotation.dueAt) : 'not planned', rotation.rule ? `, ${RULES[rotation.rule] || rotation.rule}` : '')
      : 'by hand only: auto-rotation is off'],
    ['Old certificates', retire.pending
      ? `generation ${retire.generation} waits for the cloud to retire what is older${retire.text ? `: ${retire.text}` : ''}`
      : retire.mode === 'none' ? 'are not retired (retire.mode = none)' : 'all retired'],
  ];
  if (hooks.results.length) {
    const told = failed.map((hook) => `${hook.name} failed${hook.text ? `: ${hook.text}` : ''}`).join('; ');
    rows.push(['Hooks', told || `${hooks.results.length - waiting} done${waiting ? `, ${waiting} still to run` : ''}, for generation ${hooks.generation}`]);
  }
  $('facts').replaceChildren(...rows.map(([name, value, kind]) => h('div', {}, h('dt', {}, name), h('dd', { class: kind }, value))));
}

function drawProvision(status) {
  const field = $('serial');
  if (status.serial && field.value !== status.serial) field.value = status.serial;
  field.readOnly = Boolean(status.serial);
}

/** Arms the form and the buttons; `done` is told after each order. */
export function armIdentity({ done, confirm, status }) {
  $('provision-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const serial = $('serial').value.trim();
    await order($('provision-note'), event.submitter, () => call('POST', '/v1/provision', { serial }), done);
  });
  $('connect').addEventListener('click', (event) => order($('rotation-note'), event.currentTarget, () => call('POST', '/v1/connect', {}), done));
  $('disconnect').addEventListener('click', async (event) => {
    const button = event.currentTarget;
    const thing = status()?.thingName || 'this device';
    const yes = await confirm({
      title: `Take ${thing} offline?`,
      text: 'The session ends and stays away until Connect or a restart. Nothing is rotated meanwhile, and no message comes or goes.',
      yes: 'Take it offline',
    });
    if (yes) await order($('rotation-note'), button, () => call('POST', '/v1/disconnect', {}), done);
  });
}

/** Gives an order and says how it was taken; its button waits meanwhile. */
export async function order(note, button, act, done) {
  button?.setAttribute('aria-disabled', 'true');
  outcome(note, 'busy', 'Asked…');
  try {
    const answer = await act();
    outcome(note, 'ok', capital(answer?.text || 'Done'));
    done?.(answer);
  } catch (error) {
    refused(note, error);
    done?.(null);
  } finally {
    button?.removeAttribute('aria-disabled');
  }
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A rotation that was due this long ago, in milliseconds, is under way rather than late. */
const NOW = 60_000;
/** Where the bar breaks, in per cent: what is left of it is the time that matters. */
const BREAK = 82;
