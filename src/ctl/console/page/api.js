// The way to the console's server: requests, streams of events, and refusals told apart.

/** A refusal: a problem document, of the daemon's or of the console's. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.title || 'refused');
    Object.assign(this, { status: problem.status, code: problem.code, detail: problem.detail, remedy: problem.remedy });
  }

  /** Whether the daemon behind the console is out of reach. */
  get down() {
    return this.status === 502 || this.status === 504 || this.code === 'console-down' || this.code === 'stopping';
  }
}

const GONE = {
  status: 0,
  code: 'console-down',
  title: 'The console has ended',
  detail: 'The program that served this page does not answer any more. The daemon is not touched by that.',
  remedy: 'start certrotctl console again, and open the link that it prints',
};

const hooks = { signedOut: () => {} };
/** What is done when the session has ended. */
export function onSignedOut(act) {
  hooks.signedOut = act;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { cache: 'no-store', redirect: 'error', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(GONE);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({
    status: answer.status, code: 'unknown', title: 'Refused', detail: `The answer was ${answer.status}.`, remedy: '',
  }));
  const refusal = new Refusal({ ...problem, status: answer.status });
  if (refusal.code === 'signed-out') hooks.signedOut();
  throw refusal;
}

/** Asks; the answer is JSON, or nothing. */
export async function call(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { 'content-type': 'application/json' };
  }
  const answer = await ask(path, options);
  return answer.status === 204 ? null : answer.json();
}

/**
 * Follows a stream of server-sent events until it ends; `heard(kind, data, id)` gets each one. Fails with a Refusal
 * where it is refused; ends quietly where it breaks off.
 */
export async function follow(path, { after, signal, opened, heard }) {
  const headers = { accept: 'text/event-stream' };
  if (after) headers['last-event-id'] = after;
  const answer = await ask(path, { headers, signal });
  opened?.();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let event = { kind: 'message', data: [], id: undefined };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines.map((l) => l.replace(/\r$/, ''))) {
        if (line === '') {
          if (event.data.length) heard(event.kind, JSON.parse(event.data.join('\n')), event.id);
          else if (event.id) heard('start', null, event.id);
          event = { kind: 'message', data: [], id: undefined };
          continue;
        }
        const at = line.indexOf(':');
        const name = at < 0 ? line : line.slice(0, at);
        const value = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
        if (name === 'event') event.kind = value;
        else if (name === 'data') event.data.push(value);
        else if (name === 'id') event.id = value;
      }
    }
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    if (error instanceof SyntaxError) throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
}
