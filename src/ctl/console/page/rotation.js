// The rotation as a diagram of two tracks: the new certificate comes up, takes the session over, becomes `current`, and
// the old one ends. Fed by the daemon's events; what it shows has happened.

import { $, h, moment, outcome, say, took } from './dom.js';

const STEPS = {
  claim: ['Claim', 'connects with the claim'],
  issue: ['Issue', 'new key, new certificate'],
  register: ['Register', 'thing and policy attached'],
  prove: ['Prove', 'carries the session'],
  switch: ['Switch', 'current moves, one rename'],
  retire: ['Retire', 'the cloud ends the old one'],
};
const ROTATION = ['issue', 'register', 'prove', 'switch', 'retire'];
const PROVISION = ['claim', ...ROTATION];

let known = null;   // the operation that is drawn
let status = null;
const queue = [];
let playing = false;

/** Hears an event; steps that fall within a blink are drawn one after the other. */
export function heardRotation(event) {
  queue.push(event);
  if (!playing) play();
}

function play() {
  const event = queue.shift();
  if (!event) {
    playing = false;
    return;
  }
  playing = true;
  const changed = take(event);
  if (changed) draw();
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches || document.hidden || queue.length > 40;
  if (changed && !calm) setTimeout(play, BLINK);
  else play();
}

function take(event) {
  if (event.kind === 'gap') {
    known = known && known.ended ? known : null;
    return true;
  }
  if (!event.operation || !['rotation-step', 'rotation-done', 'provision', 'retire', 'session'].includes(event.kind)) return false;
  const first = event.result === 'started' && ['claim', 'issue'].includes(event.step);
  if (!known || known.id !== event.operation || (known.ended && first)) {
    const kind = event.kind === 'provision' ? 'provision' : 'rotation';
    known = { id: event.operation, kind, began: event.time, steps: {}, generation: null, ended: null, old: status?.certificate?.generation ?? null };
  }
  const generation = Number(event.fields?.generation);
  if (generation) known.generation = generation;
  if (event.kind === 'rotation-done' || (event.kind === 'provision' && (!event.step || event.result === 'failed'))) {
    known.ended = { ok: event.result === 'ok', at: event.time, text: event.text, remedy: event.remedy };
  }
  if (event.kind === 'session') return false;
  if (STEPS[event.step]) {
    const step = (known.steps[event.step] ??= { from: event.time });
    step.state = { started: 'doing', ok: 'done', failed: 'failed', retry: 'later' }[event.result] || step.state;
    if (event.result !== 'started') step.to = event.time;
    step.text = event.text;
    for (const name of PROVISION.slice(0, PROVISION.indexOf(event.step))) {
      if (known.steps[name]?.state === 'doing') known.steps[name].state = 'done';
    }
  }
  return true;
}

/** Takes the status in: names of generations, and an operation of which no event was heard. */
export function drawRotation(latest) {
  status = latest;
  if (latest.operation && (!known || (known.id !== latest.operation.id && !playing))) {
    const { id, kind, started, step } = latest.operation;
    known = { id, kind, began: started, steps: {}, generation: null, ended: null, old: latest.certificate?.generation ?? null };
    if (STEPS[step]) known.steps[step] = { state: 'doing', from: started };
  }
  if (!playing) draw();
}

function draw() {
  const names = known?.kind === 'provision' || !status?.certificate && !known ? PROVISION : ROTATION;
  const steps = names.map((name) => [name, known?.steps[name] || {}]);
  drawNames();
  const track = $('track');
  track.dataset.count = names.length;
  track.replaceChildren(...steps.map(([name, step], n) => {
    const state = step.state || 'todo';
    const [fresh, old] = sessionAt(names, name);
    const time = state === 'done' && step.to && step.from ? took(Date.parse(step.to) - Date.parse(step.from)) : WORDS[state];
    return h('li', { 'data-step': name, 'data-state': state, 'aria-current': state === 'doing' ? 'step' : null },
      h('span', { class: 'step-name' }, STEPS[name][0]),
      h('span', { class: 'lane new', 'data-session': fresh, 'aria-hidden': 'true' }),
      h('span', { class: 'lane old', 'data-session': old, 'aria-hidden': 'true' }),
      h('span', { class: 'step-text' }, state === 'failed' || state === 'later' ? step.text || WORDS[state] : explained(names, name)),
      h('span', { class: 'step-time mono' }, time));
  }));
  drawNote();
}

const explained = (names, name) => (name === 'retire' && names === PROVISION ? 'older ones end, if any' : STEPS[name][1]);

/** Where the session runs at a step: on the new track, on the old one, or up from one to the other. */
function sessionAt(names, name) {
  const [at, prove] = [names.indexOf(name), names.indexOf('prove')];
  const there = Boolean(status?.connected) || Boolean(known && !known.ended);
  const done = (step) => known?.steps[step]?.state === 'done';
  if (!done('prove')) return ['no', !there ? 'no' : known?.kind === 'provision' || !status?.certificate ? (done('claim') ? 'yes' : 'no') : 'yes'];
  if (at < prove) return ['no', 'yes'];
  if (at === prove) return ['yes', 'up'];
  if (name === 'retire') return [done('retire') ? 'yes' : 'no', done('retire') ? 'end' : 'no'];
  return [done(name) ? 'yes' : 'no', 'no'];
}

function drawNames() {
  const current = status?.certificate?.generation ?? null;
  const provision = known?.kind === 'provision' || (!known && !current);
  const fresh = known?.generation ?? (known && !known.ended ? (known.old ?? current ?? 0) + 1 : null);
  const older = status?.generations.map((g) => g.number).filter((n) => fresh && n < fresh).at(-1);
  const before = known ? (known.old && known.old !== fresh ? known.old : older ?? (fresh ? fresh - 1 : null)) : current;
  const proved = known?.steps.prove?.state === 'done';
  const switched = known?.steps.switch?.state === 'done';
  const retired = known?.steps.retire?.state === 'done';
  say($('new-name'), known ? (fresh ? `generation ${fresh}` : 'the new one') : 'the next one');
  say($('old-name'), provision ? 'claim certificate' : before ? `generation ${before}` : 'none');
  const session = Boolean(status?.connected) || Boolean(known && !known.ended);
  tags($('new-tags'), [proved && session && 'session', switched && 'current']);
  tags($('old-tags'), [retired && !provision && 'retired', !proved && session && !provision && 'session', !switched && !provision && before && 'current']);
}

function tags(place, words) {
  const wanted = words.filter(Boolean);
  if (place.dataset.words === wanted.join()) return;
  place.dataset.words = wanted.join();
  place.replaceChildren(...wanted.map((word) => h('span', { class: 'tag', 'data-tag': word }, word)));
}

function drawNote() {
  const note = $('rotation-note');
  const what = known?.kind === 'provision' ? 'Provisioning' : 'Rotation';
  if (!known) {
    if (!note.dataset.kind) say(note, '');
    return;
  }
  if (!known.ended) {
    outcome(note, 'busy', `${what} under way`);
    return;
  }
  const { ok, at, text, remedy } = known.ended;
  const key = `${known.id} ${at}`;
  if (note.dataset.key === key && note.dataset.kind !== 'busy') return;
  note.dataset.key = key;
  outcome(note, ok ? 'ok' : 'fault', `${what} ${ok ? 'done' : 'failed'}: ${text}`, ok ? '' : remedy);
  note.append(' ', h('span', { class: 'note' }, moment(at), ok ? `, ${took(Date.parse(at) - Date.parse(known.began))} in all` : ''));
}

const WORDS = { todo: '', doing: 'in hand', done: 'done', failed: 'failed', later: 'again later' };
/** For how long a step is seen at least, in milliseconds. */
const BLINK = 90;
