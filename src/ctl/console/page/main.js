// The page: signs in, follows the daemon, draws what it says, and says so when it cannot be reached.

import { $, clock, outcome, say, show, span } from './dom.js';
import { Refusal, call, follow, onSignedOut } from './api.js';
import { armIdentity, drawIdentity } from './identity.js';
import { drawRotation, heardRotation } from './rotation.js';
import { armMessages, drawMessages, endMessages } from './messages.js';
import { armReports, drawHistory, drawPolicy, heardEvent } from './reports.js';

let status = null;
let downSince = null;
let following = null;
let looking = null;

async function start() {
  // The link's ticket leaves the address before anything else is done with it.
  const ticket = /^#login=([0-9a-f]{64})$/.exec(location.hash)?.[1];
  if (location.hash.startsWith('#login')) history.replaceState(null, '', location.pathname);
  arm();
  onSignedOut(() => leave('The session has ended.'));
  try {
    let session = await call('GET', '/console/session');
    if (!session.signedIn && ticket) {
      try {
        await call('POST', '/console/session', { ticket });
        session = await call('GET', '/console/session');
      } catch (error) {
        return leave(`${error.detail} ${error.remedy}`);
      }
    }
    if (!session.signedIn) return leave();
    enter(session);
  } catch (error) {
    leave(error.detail || String(error));
  }
}

function enter({ skipAuth }) {
  show($('signin'), false);
  show($('console'), true);
  show($('open-door'), skipAuth);
  show($('signout'), !skipAuth);
  following = new AbortController();
  look();
  lookBack();
  listen(following.signal);
}

function leave(why = '') {
  following?.abort();
  following = null;
  endMessages();
  clearTimeout(looking);
  show($('console'), false);
  show($('signin'), true);
  document.title = 'Sign in · certrotd console';
  const fault = $('signin-fault');
  show(fault, Boolean(why));
  say(fault, why);
  $('token').value = '';
  $('token').focus();
}

/** Reads the status now, and again after a while. */
async function look() {
  if (!following) return;
  clearTimeout(looking);
  looking = setTimeout(look, downSince ? AGAIN : HEARTBEAT);
  try {
    status = await call('GET', '/v1/status');
    clock.set(status.now);
    reached();
    drawIdentity(status);
    drawRotation(status);
    drawPolicy(status);
    drawMessages(status);
    document.body.dataset.ready = 'yes';
  } catch (error) {
    if (error instanceof Refusal && error.code !== 'signed-out') lost(error);
    else if (!(error instanceof Refusal)) throw error;
  }
}

/** Soon: several events at once are one look. */
function lookSoon() {
  clearTimeout(looking);
  looking = setTimeout(look, SOON);
}

async function lookBack() {
  try {
    drawHistory(await call('GET', '/v1/history'));
  } catch { /* the status says what is wrong */ }
}

/** Follows the events, for ever: what was missed comes again by the last id. */
async function listen(signal) {
  let after = '1';
  for (let wait = AGAIN; !signal.aborted;) {
    const fresh = after === '1';
    try {
      await follow('/v1/events', {
        after,
        signal,
        opened: () => { lookSoon(); if (!fresh) lookBack(); },
        heard: (kind, event, id) => {
          if (id) after = id;
          // The first gap only says that the daemon is older than this page.
          if (!event || (event.kind === 'gap' && fresh)) return;
          heardEvent(event);
          heardRotation(event);
          lookSoon();
          if (['rotation-done', 'provision', 'retire'].includes(event.kind)) lookBack();
        },
      });
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (!(error instanceof Refusal)) throw error;
      wait = error.code === 'busy' ? BUSY : AGAIN;
    }
    if (signal.aborted) return;
    look();
    await new Promise((go) => setTimeout(go, wait));
  }
}

function reached() {
  if (downSince) {
    downSince = null;
    lookBack();
  }
  show($('down'), false);
  $('board').inert = false;
  document.body.classList.remove('stale');
}

function lost(error) {
  downSince ??= Date.now();
  const words = {
    'console-down': 'The console has ended',
    'socket-not-permitted': 'The console may not speak to certrotd',
    'daemon-slow': 'certrotd does not answer',
    stopping: 'certrotd is stopping',
  };
  say($('down-title'), error.down ? words[error.code] || 'certrotd is not running' : 'certrotd refuses');
  say($('down-text'), error.detail || '');
  say($('down-fix'), error.remedy || '');
  say($('down-since'), `For ${span(Date.now() - downSince)}; tried again every ${AGAIN / 1000} s. ${status ? 'Below is what it said last.' : ''}`);
  show($('down'), true);
  $('board').inert = true;
  document.body.classList.add('stale');
  document.body.dataset.ready = 'yes';
}

function confirm({ title, text, yes }) {
  say($('ask-title'), title);
  say($('ask-text'), text);
  say($('ask-yes'), yes);
  const ask = $('ask');
  ask.returnValue = 'no';
  ask.showModal();
  $('ask-no').focus();
  return new Promise((answer) => ask.addEventListener('close', () => answer(ask.returnValue === 'yes'), { once: true }));
}

function arm() {
  const done = () => lookSoon();
  armIdentity({ done, confirm, status: () => status });
  armMessages();
  armReports({ done });
  // A button that waits for its answer is not pressed twice.
  document.addEventListener('click', (event) => {
    if (event.target.closest?.('[aria-disabled="true"]')) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }, true);
  $('signin-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const fault = $('signin-fault');
    show(fault, false);
    try {
      await call('POST', '/console/session', { token: $('token').value.trim() });
      $('token').value = '';
      enter(await call('GET', '/console/session'));
    } catch (error) {
      show(fault, true);
      outcome(fault, 'fault', error.detail || String(error), error.remedy);
      $('token').select();
    }
  });
  $('signout').addEventListener('click', async () => {
    await call('DELETE', '/console/session').catch(() => {});
    leave();
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden && following) look(); });
}

/** Milliseconds. */
const [SOON, AGAIN, BUSY, HEARTBEAT] = [120, 2000, 15000, 10000];

start();
