/**
 * Two ways to stream one answer. Both call `onText` for each piece of it and return a promise that
 *   - is fulfilled when the daemon has said that the answer is complete (`event: done`),
 *   - is rejected with an `AbortError` when `signal` aborts: the connection closes, and the daemon stops the model,
 *   - is rejected with a `CutError` when the connection ends before that,
 *   - is rejected with an `Error` whose message says what the server did not like.
 */
import { EventParser } from './sse.js';

export class CutError extends Error {
    constructor() {
        super('Cut off before the answer was complete');
    }
}

/** By POST: the prompt stays out of access logs, and errors of the server can be read. */
export async function streamByFetch(url, prompt, onText, signal) {
    const response = await fetch(url, { method: 'POST', body: new URLSearchParams({ prompt }), signal });
    const type = response.headers.get('Content-Type') ?? 'nothing';
    if (!response.ok) {
        const answer = `The server answered ${response.status} ${response.statusText}.`;
        throw new Error(type.startsWith('application/json') ? messageIn(await response.text()) : answer);
    }
    if (!type.startsWith('text/event-stream')) {
        throw new Error(`The server sent ${type} in place of a stream. Is mod_socket_handoff loaded?`);
    }

    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    try {
        for (;;) {
            const { value, done } = await reader.read().catch((error) => {
                throw signal.aborted ? error : new CutError();
            });
            if (done) throw new CutError();
            // `stream`: a character may be split between two reads.
            for (const event of parser.push(decoder.decode(value, { stream: true }))) {
                if (event.type === 'message') onText(event.data);
                if (event.type === 'error') throw new Error(messageIn(event.data));
                if (event.type === 'done') return;
            }
        }
    } finally {
        reader.cancel().catch(() => {}); // nothing more is wanted; the stream may have failed already
    }
}

/** By GET: the browser parses the events, but says nothing about errors of the server. */
export function streamByEventSource(url, prompt, onText, signal) {
    return new Promise((resolve, reject) => {
        const source = new EventSource(`${url}?${new URLSearchParams({ prompt })}`);
        // Always close: an EventSource that is left alone reconnects at the end, and asks the model once more.
        const settle = (how, value) => {
            source.close();
            how(value);
        };
        let opened = false;

        source.addEventListener('open', () => { opened = true; });
        source.addEventListener('message', (event) => onText(event.data));
        source.addEventListener('done', () => settle(resolve));
        source.addEventListener('error', (event) => {
            // Two things have this name: an `event: error` that the daemon sent, and the end of the connection.
            if (event instanceof MessageEvent) settle(reject, new Error(messageIn(event.data)));
            else if (opened) settle(reject, new CutError());
            else settle(reject, new Error('The server refused. EventSource hides the reason; fetch would show it.'));
        });
        signal.addEventListener('abort', () => settle(reject, signal.reason), { once: true });
    });
}

/** The message in `{"error":"…"}` or `{"error":{"message":"…"}}`; any other text is a message itself. */
function messageIn(text) {
    try {
        const { error } = JSON.parse(text);
        return error?.message ?? error ?? text;
    } catch {
        return text;
    }
}
