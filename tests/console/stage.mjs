// The stage for the browser tests: programs that are started and stopped, a device with its twin, one Chromium.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { CONSOLE_BIN: BIN, CONSOLE_TOOLS: TOOLS, CONSOLE_PICTURES: PICTURES, CONSOLE_CHROMIUM: CHROMIUM } = process.env;
const require = createRequire(`${TOOLS}/`);
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const PATIENCE = 20_000;

const children = new Set();

/** Starts a program; its output is kept, and it is stopped with the tests. */
export function start(name, words, { env = {}, log } = {}) {
  const out = log ? openSync(log, 'a') : 'pipe';
  const clean = { ...process.env, ...env };
  for (const gone of ['API_TOKEN', 'SKIP_AUTH', 'NOTIFY_SOCKET', 'JOURNAL_STREAM', 'CREDENTIALS_DIRECTORY']) if (!(gone in env)) delete clean[gone];
  const child = spawn(join(BIN, name), words, { env: clean, stdio: ['ignore', out, out] });
  child.text = '';
  child.stdout?.on('data', (data) => { child.text += data; });
  child.stderr?.on('data', (data) => { child.text += data; });
  child.ended = new Promise((done) => child.once('exit', (code, signal) => { children.delete(child); child.over = true; done(code ?? signal); }));
  children.add(child);
  return child;
}

export async function stop(child, signal = 'SIGTERM') {
  if (!child.over) child.kill(signal);
  await child.ended;
}

export async function stopAll() {
  await Promise.all([...children].map((child) => stop(child)));
}

/** Waits until `look` gives something. */
export async function until(what, look, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`did not come within ${patience / 1000} s: ${what}`);
    await new Promise((go) => setTimeout(go, 30));
  }
}

/** Asks over the control socket, or a TCP port of this machine. */
export function ask(where, method, path, body) {
  const to = typeof where === 'string' ? { socketPath: where } : { host: '127.0.0.1', port: where };
  return new Promise((done, fail) => {
    const asked = request({ ...to, method, path, headers: { host: 'localhost', 'content-type': 'application/json' } }, (answer) => {
      let text = '';
      answer.on('data', (data) => { text += data; });
      answer.on('end', () => { try { done({ status: answer.statusCode, body: text ? JSON.parse(text) : null }); } catch { done({ status: answer.statusCode, body: text }); } });
    });
    asked.on('error', fail);
    asked.end(body === undefined ? undefined : typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

/** A twin and a device before it, each in its own folder. */
export class Device {
  constructor(serial) {
    this.dir = realpathSync(mkdtempSync(join(tmpdir(), 'certrot-console-')));
    this.serial = serial;
    this.socket = join(this.dir, 'control.sock');
    this.log = join(this.dir, 'certrotd.log');
  }

  async twin() {
    this.cloud = start('certrot-twin', ['serve', '--dir', join(this.dir, 'twin')]);
    const ready = await until('the twin is ready', () => /ready mqtt=127\.0\.0\.1:(\d+) api=127\.0\.0\.1:(\d+)/.exec(this.cloud.text));
    [this.port, this.api] = [Number(ready[1]), Number(ready[2])];
    const twin = join(this.dir, 'twin');
    writeFileSync(join(this.dir, 'config.toml'), `
      ${this.serial ? `[device]\nserial = "${this.serial}"` : ''}
      [aws]
      endpoint = "localhost"
      port = ${this.port}
      root-ca = "${twin}/ca.pem"
      [claim]
      certificate = "${twin}/claim.cert.pem"
      private-key = "${twin}/claim.key.pem"
      [identity]
      directory = "${this.dir}/store"
      [control]
      socket = "${this.socket}"
      operators = ["${process.getuid()}"]
    `, { mode: 0o600 });
    return this;
  }

  async daemon() {
    this.process = start('certrotd', ['--config', join(this.dir, 'config.toml')], { log: this.log });
    await until('the daemon answers', () => ask(this.socket, 'GET', '/v1/status').then((a) => a.status === 200, () => this.process.over ? Promise.reject(new Error(readFileSync(this.log, 'utf8'))) : false));
    return this;
  }

  status() {
    return ask(this.socket, 'GET', '/v1/status').then((a) => a.body);
  }

  connected() {
    return until('the device is connected', () => this.status().then((s) => s.connected && s.state === 'steady'));
  }

  fault(fault) {
    return ask(this.api, 'POST', '/twin/faults', fault);
  }

  /** The cloud publishes: bytes as they are. */
  async cloudSays(topic, payload) {
    const { status } = await ask(this.api, 'POST', `/topics/${encodeURIComponent(topic)}?qos=1`, payload);
    if (status !== 200) throw new Error(`the twin does not publish to ${topic}: ${status}`);
  }

  async end() {
    for (const child of [this.process, this.cloud]) if (child) await stop(child);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A console over that socket; what it said of itself. */
export async function consoleOver(socket, env = {}, words = []) {
  const child = start('certrotctl', ['--json', '--socket', socket, 'console', '--listen', '127.0.0.1:0', ...words], { env });
  const said = await until('the console says where it is', () => (child.text.includes('\n') ? JSON.parse(child.text.split('\n')[0]) : child.over && Promise.reject(new Error(child.text))));
  return { child, link: said.link, token: said.token ?? env.API_TOKEN, page: `http://${said.listen}/` };
}

export async function browser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A tab whose faults are the test's: every error of the page, and every word of its policy, fails it. */
export async function tab(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'no-preference', ...options });
  const page = await context.newPage();
  page.faults = [];
  page.clicks = 0;
  page.on('pageerror', (error) => page.faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // A refused request is told there by the browser itself; the page shows it.
    if (message.type() === 'error' && !/Failed to load resource|ERR_/.test(message.text())) page.faults.push(message.text());
  });
  page.on('dialog', (dialog) => { page.faults.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (asked) => { if (!/^(data:|about:|http:\/\/127\.0\.0\.1:)/.test(asked.url())) page.faults.push(`asks ${asked.url()}`); });
  page.press = async (selector) => { page.clicks += 1; await page.click(selector); };
  page.setDefaultTimeout(PATIENCE);
  return page;
}

export async function open(page, link) {
  await page.goto(link);
  await page.waitForSelector('body[data-ready]');
}

/** Says what axe finds in this state, light and dark, wide and narrow, and takes a picture of each. */
export async function judge(page, state) {
  mkdirSync(PICTURES, { recursive: true });
  await page.evaluate(AXE);
  const found = [];
  for (const [device, width, height] of [['wide', 1280, 900], ['phone', 390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      // Colours that are still on their way are neither.
      await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished.catch(() => {}))));
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      for (const v of violations) found.push(`${device} ${colorScheme}: ${v.id}: ${v.nodes.map((n) => `${n.target}: ${n.failureSummary}`).join('; ')}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) found.push(`${device}: wider than the screen by ${wide} px`);
      await page.screenshot({ path: join(PICTURES, `${state}-${device}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'no-preference' });
  if (found.length) throw new Error(`axe, ${state}:\n  ${found.join('\n  ')}`);
}

export const text = (page, selector) => page.textContent(selector).then((t) => (t || '').replace(/\s+/g, ' ').trim());
export async function sees(page, selector, words) {
  let said = '';
  const look = async () => {
    said = await text(page, selector);
    return words instanceof RegExp ? words.test(said) : said.includes(words);
  };
  await until(`${selector} says ${words}`, look).catch((error) => { throw new Error(`${error.message}; it says ${said}`); });
}
export const shown = (page, selector) => page.waitForSelector(selector, { state: 'visible' });
export const gone = (page, selector) => page.waitForSelector(selector, { state: 'hidden' });
