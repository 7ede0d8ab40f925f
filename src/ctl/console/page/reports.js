// What has happened and what was found: history, events, the doctor's report; and the policy of auto-rotation.

import { $, h, moment, outcome, refused, say, took } from './dom.js';
import { call } from './api.js';
import { capital, order } from './identity.js';

/** Draws the history, the newest first. */
export function drawHistory(entries) {
  $('history-list').replaceChildren(...entries.slice().reverse().slice(0, 100).map((entry) => h('tr', {},
    h('td', {}, moment(entry.time)), h('td', { 'data-kind': entry.kind }, entry.kind),
    h('td', { class: 'mono', title: entry.certificateId }, entry.generation ? String(entry.generation) : ''),
    h('td', {}, entry.text))));
}

/** Adds an event, the newest first. */
export function heardEvent(event) {
  const list = $('event-list');
  const words = [event.step, event.result].filter(Boolean).join(' ');
  list.prepend(h('li', { 'data-result': event.result },
    moment(event.time, { day: false }), h('span', { class: 'kind' }, event.kind),
    h('span', { class: 'words' }, [words, event.text].filter(Boolean).join(' · '),
      event.remedy ? h('span', { class: 'fix' }, event.remedy) : '')));
  while (list.childElementCount > EVENTS) list.lastElementChild.remove();
}

/** Runs the doctor or a dry run and draws what was found. */
async function examine(button, what, ask) {
  const sum = $('report-sum');
  button.setAttribute('aria-disabled', 'true');
  sum.dataset.kind = 'busy';
  say(sum, `${what}: tries each step…`);
  try {
    drawReport(what, await ask());
  } catch (error) {
    $('report-list').replaceChildren();
    refused(sum, error);
  } finally {
    button.removeAttribute('aria-disabled');
  }
}

function drawReport(what, { steps, ageSeconds }) {
  const count = (result) => steps.filter((s) => s.result === result).length;
  const [bad, odd] = [count('fail'), count('warn')];
  const sum = [`${count('ok')} ok`, odd && `${odd} to know`, bad && `${bad} failed`, count('skipped') && `${count('skipped')} not tried`];
  outcome($('report-sum'), bad ? 'fault' : 'ok', `${what}: ${sum.filter(Boolean).join(', ')}${ageSeconds ? `; examined ${ageSeconds} s ago` : ''}`);
  $('report-list').replaceChildren(...steps.map((step) => {
    const evidence = step.evidence ?? step.detail ?? '';
    const fix = step.fix ?? step.remedy;
    return h('li', { 'data-result': step.result },
      h('span', { class: 'verdict-word' }, WORDS[step.result] || step.result),
      h('span', { class: 'name' }, step.name),
      h('span', { class: 'words' }, evidence,
        step.cause ? h('span', { class: 'cause' }, `cause: ${step.cause}`) : '',
        fix ? h('span', { class: 'fix' }, fix) : '',
        step.statement ? h('pre', {}, JSON.stringify(step.statement, null, 2)) : ''),
      h('span', { class: 'mono note' }, step.millis === undefined ? '' : took(step.millis)));
  }));
}

const FIELDS = { 'max-age': 'maxAge', 'renew-before': 'renewBefore', 'check-interval': 'checkInterval' };

/** Fills the policy in, where nobody is writing. */
export function drawPolicy({ rotation }) {
  if (!$('enabled').hasAttribute('aria-disabled')) $('enabled').checked = rotation.enabled;
  for (const [id, name] of Object.entries(FIELDS)) {
    const field = $(id);
    const value = rotation[name] ?? '';
    if (field.value === (field.dataset.inForce ?? '')) field.value = value;
    field.dataset.inForce = value;
  }
}

/** Arms buttons and forms; `done` is told after each order. */
export function armReports({ done }) {
  $('check').addEventListener('click', (event) => examine(event.currentTarget, 'Doctor', () => call('GET', '/v1/check')));
  $('dry-run').addEventListener('click', (event) => {
    $('report').scrollIntoView({ block: 'nearest' });
    examine(event.currentTarget, 'Dry run', () => call('POST', '/v1/rotate', { dryRun: true }));
  });
  $('rotate').addEventListener('click', (event) => order($('rotation-note'), event.currentTarget, () => call('POST', '/v1/rotate', {}), done));
  $('enabled').addEventListener('change', async (event) => {
    const box = event.currentTarget;
    const enabled = box.checked;
    await order($('auto-note'), box, () => call('PATCH', '/v1/rotation', { enabled }), (answer) => {
      if (!answer) box.checked = !enabled;
      else outcome($('auto-note'), 'ok', `Auto-rotation is ${enabled ? 'on' : 'off'}; ${answer.text}`);
      done();
    });
  });
  $('auto-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const changes = {};
    for (const [id, name] of Object.entries(FIELDS)) {
      const field = $(id);
      if (field.value.trim() !== field.dataset.inForce) changes[name] = field.value.trim();
    }
    if (!Object.keys(changes).length) return outcome($('auto-note'), 'ok', 'Nothing is to be changed');
    await order($('auto-note'), event.submitter, () => call('PATCH', '/v1/rotation', changes), (answer) => {
      if (answer) {
        for (const id of Object.keys(FIELDS)) $(id).dataset.inForce = $(id).value;
        outcome($('auto-note'), 'ok', capital(answer.text));
      }
      done();
    });
  });
}

const WORDS = { ok: 'ok', warn: 'know', fail: 'fail', skipped: 'not tried' };
/** Events that are kept on the page. */
const EVENTS = 200;
