// The console's page in a real Chromium: each scene is a day in an operator's life, from a fresh device to a daemon that
// goes away while one looks. axe judges every state of the page, light and dark, wide and on a phone.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { Device, ask, browser, consoleOver, gone, judge, open, sees, shown, start, stop, stopAll, tab, text, until } from './stage.mjs';

const HOSTILE = [
  '<img src=x onerror=alert(1)>', '<script>alert(2)</script>', '"><svg onload=alert(3)>', 'javascript:alert(4)', '{{7*7}}${7*7}',
  '</pre></li><iframe src="javascript:alert(5)">', '\u202Eoverride \u0000nul',
];

const scenes = {
  async 'from the URL that the demo prints to a rotated certificate: at most three clicks'(chromium) {
    const home = mkdtempSync(join(tmpdir(), 'certrot-console-demo-'));
    const demo = start('certrot-twin', ['demo'], { env: { TMPDIR: home } });
    await until('the demo stays up', () => demo.text.includes('Ctrl-C ends'), 60_000);
    const line = demo.text.split('\n').find((l) => l.trim().endsWith(' console'));
    assert(line, `the demo prints the line that starts the console:\n${demo.text}`);
    // As it is printed; only the port is a free one, for 8080 may be somebody's.
    const served = spawn('sh', ['-c', `exec ${line.trim()} --listen 127.0.0.1:0`], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    served.stdout.on('data', (data) => { said += data; });
    const [, link] = await until('it prints its link', () => /console: (http:\S+)/.exec(said));
    const page = await tab(chromium);
    await open(page, link);
    await sees(page, '#thing', 'SN-0001');
    const before = Number(/Generation (\d+)/.exec((await text(page, '#facts')).replace(/\s+/g, ' ').replace('Generation', 'Generation '))[1]);
    await page.press('#rotate');
    await sees(page, '#rotation-note', 'Rotation done');
    await sees(page, '#new-name', `generation ${before + 1}`);
    await sees(page, '#new-tags', 'current');
    await until('every step is drawn', () => page.$$eval('#track li', (all) => all.length === 5 && all.every((li) => li.dataset.state === 'done')));
    assert(page.clicks <= 3, `${page.clicks} clicks`);
    console.log(`    ${page.clicks} click`);
    assert.deepEqual(page.faults, []);
    await page.context().close();
    served.kill();
    await stop(demo, 'SIGINT');
    rmSync(home, { recursive: true, force: true });
  },

  async 'a wrong token is told and a right one opens; the link leaves no secret in the address or the history'(chromium) {
    const device = await (await new Device('SN-7').twin()).daemon();
    await device.connected();
    const { child, page: url, link, token } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await page.goto(url);
    await shown(page, '#signin');
    assert(await page.isHidden('#console'));
    await judge(page, 'signin');
    await page.fill('#token', 'not-the-token-at-all');
    await page.keyboard.press('Enter');
    await sees(page, '#signin-fault', 'that is not the token');
    await judge(page, 'wrong-token');
    await page.fill('#token', token);
    await page.keyboard.press('Enter');
    await sees(page, '#thing', 'SN-7');
    assert.equal(await page.evaluate(() => document.cookie), '', 'no script can read the session');
    const stored = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, location.href, history.state]));
    assert(!stored.includes(token), stored);
    await page.press('#signout');
    await shown(page, '#signin');
    await page.reload();
    await shown(page, '#signin');

    const second = await tab(chromium);
    await open(second, link);
    assert.equal(second.url(), url, 'the fragment is gone');
    await second.goto('about:blank');
    await second.goBack();
    await second.waitForSelector('body[data-ready]');
    assert.equal(second.url(), url);
    const third = await tab(chromium);
    await third.goto(link);
    await sees(third, '#signin-fault', 'works once');
    assert.equal(third.url(), url);
    for (const p of [page, second, third]) {
      assert.deepEqual(p.faults, []);
      await p.context().close();
    }
    await stop(child);
    await device.end();
  },

  async 'a fresh device is provisioned with a serial, and what goes wrong on the way is told'(chromium) {
    const device = await (await new Device(null).twin()).daemon();
    const { child, link } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await open(page, link);
    await sees(page, '#thing', 'No identity yet');
    await sees(page, '#alert-list', 'serial-missing');
    assert(await page.isHidden('#identity'));
    await judge(page, 'unprovisioned');
    await page.fill('#serial', 'no/slash');
    await page.press('#provision-form button');
    await sees(page, '#provision-note', 'cannot be a serial');
    await page.fill('#serial', 'SN-0042');
    await page.press('#provision-form button');
    await sees(page, '#thing', 'SN-0042');
    await sees(page, '#link-word', /^Connected$/);
    await sees(page, '#rotation-note', 'Provisioning done');
    await gone(page, '#provision');
    await shown(page, '#identity');
    await sees(page, '#history-list', 'provisioned');
    await judge(page, 'provisioned');
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await stop(child);
    await device.end();
  },

  async 'messages flow both ways through a rotation, and hostile ones are only text'(chromium) {
    const device = await (await new Device('SN-9').twin()).daemon();
    await device.connected();
    const { child, link } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await open(page, link);
    await page.press('#subscribe-form button');
    await sees(page, '#subscribe-note', 'is subscribed');
    for (const [n, payload] of HOSTILE.entries()) await device.cloudSays(`device/SN-9/hostile/${n}`, payload);
    await until('all of them are shown', () => page.$$eval('#inbox-list pre', (all) => all.length >= 7));
    const told = await page.$$eval('#inbox-list pre', (all) => all.map((pre) => pre.textContent));
    for (const payload of HOSTILE) assert(told.includes(payload), `exactly as it came: ${JSON.stringify(payload)} in ${JSON.stringify(told)}`);
    assert.equal(await page.$$eval('#inbox img, #inbox script, #inbox svg, #inbox iframe', (all) => all.length), 0);
    await device.cloudSays('device/SN-9/bytes', Buffer.from([0xff, 0, 0xfe]));
    await sees(page, '#inbox-list li:first-child', /3 B, base64.*\/wD\+/);
    await judge(page, 'messages');

    // One message a moment, while the certificate is replaced.
    let sent = 0;
    const flow = setInterval(() => { const n = sent++; device.cloudSays('device/SN-9/flow', `flow-${n}`).catch(() => {}); }, 20);
    await page.fill('#topic', 'device/SN-9/up');
    await page.fill('#payload', 'in the middle of it');
    await page.press('#rotate');
    await page.press('#publish-form button');
    await sees(page, '#publish-note', 'acknowledged');
    await sees(page, '#rotation-note', 'Rotation done');
    await new Promise((go) => setTimeout(go, 300));
    clearInterval(flow);
    await until('the last one is shown', () => page.$$eval('#inbox-list pre', (all, last) => all.some((pre) => pre.textContent === last), `flow-${sent - 1}`));
    const flowed = new Set((await page.$$eval('#inbox-list pre', (all) => all.map((p) => p.textContent))).filter((t) => t.startsWith('flow-')));
    console.log(`    ${flowed.size} of ${sent} messages shown over the rotation`);
    assert.equal(flowed.size, sent, 'none is lost');
    assert((await page.$$eval('#inbox-list pre', (all) => all.map((p) => p.textContent))).includes('in the middle of it'), 'its own publish comes back');
    await page.fill('#topic', 'device/SN-9/certrot/commit');
    await page.press('#publish-form button');
    await until('the daemon’s own topics are refused', async () => await page.getAttribute('#publish-note', 'data-kind') === 'fault');
    await page.press('#filters button');
    await sees(page, '#subscribe-note', 'not subscribed any more');
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await stop(child);
    await device.end();
  },

  async 'a rotation under way, one that fails, the doctor, and the policy'(chromium) {
    const device = await (await new Device('SN-3').twin()).daemon();
    await device.connected();
    const { child, link } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await open(page, link);
    await device.fault({ on: 'register', effect: { delay: { ms: 6000 } }, times: 1 });
    await page.press('#rotate');
    await until('a step is in hand', () => page.$('#track li[data-step="register"][data-state="doing"]'));
    await sees(page, '#old-tags', 'session');
    await judge(page, 'rotating');
    await sees(page, '#rotation-note', 'Rotation done');
    await judge(page, 'rotated');

    await device.fault({ on: 'register', effect: { refuse: { statusCode: 400, errorCode: '<b>Refused</b>' } }, times: 1 });
    await page.press('#rotate');
    await sees(page, '#rotation-note', 'Rotation failed');
    await until('the step that failed is drawn', () => page.$('#track li[data-step="register"][data-state="failed"]'));
    assert.equal(await page.$$eval('#rotation b, #events b', (all) => all.length), 0);
    await judge(page, 'rotation-failed');

    await page.press('#check');
    await sees(page, '#report-sum', /Doctor: \d+ ok/);
    assert(await page.$$eval('#report-list li', (all) => all.length) >= 8);
    await page.press('#dry-run');
    await sees(page, '#report-sum', /Dry run: \d+ ok/);
    await judge(page, 'report');

    await page.press('#enabled');
    await sees(page, '#auto-note', 'Auto-rotation is off');
    await sees(page, '#facts', 'by hand only');
    assert.equal((await device.status()).rotation.enabled, false);
    await page.fill('#max-age', '45');
    await page.press('#auto-save');
    await sees(page, '#auto-note', 'the unit is missing');
    await page.fill('#max-age', '45d');
    await page.fill('#check-interval', '6h');
    await page.press('#auto-save');
    await sees(page, '#auto-note', 'In force until');
    const { rotation } = await device.status();
    assert.deepEqual([rotation.maxAge, rotation.checkInterval, rotation.enabled], ['45d', '6h', false]);
    await judge(page, 'by-hand');
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await stop(child);
    await device.end();
  },

  async 'by keyboard alone: offline and back, and a question that Escape answers with no'(chromium) {
    const device = await (await new Device('SN-5').twin()).daemon();
    await device.connected();
    const { child, link } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await open(page, link);
    const tabTo = async (id) => {
      for (let n = 0; n < 60; n += 1) {
        await page.keyboard.press('Tab');
        if (await page.evaluate(() => document.activeElement.id) === id) return;
      }
      throw new Error(`no way to #${id} by Tab`);
    };
    await tabTo('disconnect');
    await page.keyboard.press('Enter');
    await sees(page, '#ask-title', 'Take SN-5 offline?');
    await judge(page, 'question');
    await page.keyboard.press('Escape');
    await gone(page, '#ask');
    assert.equal((await device.status()).connected, true, 'Escape is a no');
    await page.focus('#disconnect');
    await page.keyboard.press('Enter');
    await shown(page, '#ask');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await sees(page, '#link-word', 'Taken offline');
    await judge(page, 'offline');
    await page.focus('body');
    await tabTo('connect');
    await page.keyboard.press('Enter');
    await sees(page, '#link-word', /^Connected$/);
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await stop(child);
    await device.end();
  },

  async 'the daemon goes and comes back while the page is open; then the console goes'(chromium) {
    const device = await (await new Device('SN-6').twin()).daemon();
    await device.connected();
    const { child, link } = await consoleOver(device.socket);
    const page = await tab(chromium);
    await open(page, link);
    await sees(page, '#link-word', /^Connected$/);
    await stop(device.process);
    await sees(page, '#down-title', 'certrotd is not running');
    await sees(page, '#down-fix', 'systemctl start certrotd');
    assert.equal(await page.$eval('#board', (board) => board.inert), true, 'nothing can be ordered of what is not there');
    await judge(page, 'daemon-down');
    await device.daemon();
    await gone(page, '#down');
    await sees(page, '#link-word', /^Connected$/);
    await page.press('#rotate');
    await sees(page, '#rotation-note', 'Rotation done');
    await sees(page, '#event-list', 'rotation-done');
    await stop(child);
    await sees(page, '#down-title', 'The console has ended');
    await judge(page, 'console-ended');
    assert.deepEqual(page.faults, []);
    await page.context().close();
    await device.end();
  },

  async 'without a token the page says so, and it runs in no frame'(chromium) {
    const device = await (await new Device('SN-8').twin()).daemon();
    await device.connected();
    const { child, page: url } = await consoleOver(device.socket, { SKIP_AUTH: '1' });
    const page = await tab(chromium);
    await open(page, url);
    await sees(page, '#open-door', 'no token is asked for');
    await judge(page, 'skip-auth');
    const before = (await device.status()).certificate.generation;
    const evil = await tab(chromium);
    // Another page of this machine, whose cookies and token are of no use to it: it has none to steal.
    const hostile = await import('node:http').then(({ createServer }) => new Promise((ready) => {
      const server = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end(`<iframe id=f src="${url}"></iframe><form id=g method=post action="${url}v1/rotate" enctype="text/plain" target=t><input name='{"a":"' value='"}'></form><iframe name=t></iframe>`));
      server.listen(0, '127.0.0.1', () => ready(server));
    }));
    evil.faults.length = 0;
    await evil.goto(`http://localhost:${hostile.address().port}/`).catch(() => {});
    await evil.waitForTimeout(300);
    const frame = evil.frames().find((f) => f !== evil.mainFrame() && f.name() !== 't');
    assert(!(await frame.content()).includes('signin'), 'no frame');
    const tried = await evil.evaluate(async (target) => {
      const results = [];
      for (const options of [{ method: 'POST', mode: 'no-cors', body: '{}' }, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }]) {
        results.push(await fetch(`${target}v1/rotate`, { ...options, credentials: 'include' }).then((a) => a.type, (e) => e.name));
      }
      document.getElementById('g').submit();
      results.push(await fetch(`${target}v1/status`, { credentials: 'include' }).then((a) => a.text(), (e) => e.name));
      return results;
    }, url);
    assert.deepEqual(tried, ['TypeError', 'TypeError', 'TypeError']);
    await evil.waitForTimeout(300);
    const after = await device.status();
    assert.equal(after.certificate.generation, before, 'nothing was ordered by another page');
    assert.equal(after.operation, null);
    hostile.close();
    assert.deepEqual(page.faults, []);
    await evil.context().close();
    await page.context().close();
    await stop(child);
    await device.end();
  },
};

const chosen = process.argv[2];
const began = Date.now();
let failed = 0;
const chromium = await browser();
try {
  for (const [name, scene] of Object.entries(scenes)) {
    if (chosen && !name.includes(chosen)) continue;
    const from = Date.now();
    try {
      await scene(chromium);
      console.log(`ok    ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error.stack}`);
      for (const context of chromium.contexts()) {
        for (const page of context.pages()) if (page.faults?.length) console.log(`  the page's faults: ${page.faults.join('\n    ')}`);
        await context.close();
      }
    }
    await stopAll();
  }
} finally {
  await chromium.close();
  await stopAll();
}
console.log(`console: ${failed ? `${failed} failed` : 'all passed'} in ${((Date.now() - began) / 1000).toFixed(0)} s`);
process.exitCode = failed ? 1 : 0;
