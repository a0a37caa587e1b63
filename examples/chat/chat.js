import { CutError, streamByEventSource, streamByFetch } from './stream.js';

const CHAT = '../php/chat.php';
const LOGIN = '../php/login.php';

const $ = (id) => document.getElementById(id);
const form = $('ask');
const signedIn = signIn();
let stop = null; // the AbortController of the answer that is streaming

form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const prompt = $('prompt').value;
    if (stop || prompt.trim() === '') return;

    const stream = form.transport.value === 'get' ? streamByEventSource : streamByFetch;
    const turn = newTurn(prompt);
    stop = new AbortController();
    form.dataset.busy = '';
    $('prompt').value = '';
    try {
        await signedIn;
        await stream(CHAT, prompt, turn.add, stop.signal);
        turn.end('done', 'Done');
    } catch (error) {
        if (stop.signal.aborted) turn.end('stopped', 'Stopped');
        else if (error instanceof CutError) turn.end('cut', error.message);
        else turn.end('error', error.message);
    }
    stop = null;
    delete form.dataset.busy;
    $('prompt').focus();
});

$('stop').addEventListener('click', () => stop?.abort());

// Enter sends, Shift+Enter starts a new line; Enter that ends the input of a composed character does neither.
$('prompt').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
});

/** Adds a question and its empty answer. `data-state` of the answer: streaming, then done, stopped, cut or error. */
function newTurn(prompt) {
    const turn = $('turn').content.cloneNode(true).firstElementChild;
    const answer = turn.querySelector('.answer');
    const status = turn.querySelector('.status');
    const begin = performance.now();
    let pieces = 0;
    turn.querySelector('.question').textContent = prompt;
    $('turns').append(turn);
    turn.scrollIntoView({ block: 'end' });

    return {
        add(text) {
            const following = innerHeight + scrollY >= document.body.scrollHeight - 40;
            answer.append(text);
            pieces += 1;
            if (following) turn.scrollIntoView({ block: 'end' });
        },
        end(state, message) {
            const seconds = ((performance.now() - begin) / 1000).toFixed(1);
            answer.dataset.state = state;
            answer.removeAttribute('aria-busy');
            status.textContent = state === 'error' ? message : `${message} · ${pieces} events in ${seconds} s`;
            turn.scrollIntoView({ block: 'end' });
        },
    };
}

/** Signs in the demo user, in place of a site's own login. Without it chat.php answers 401. */
async function signIn() {
    const response = await fetch(LOGIN, { method: 'POST' }).catch(() => null);
    const answer = response?.ok ? await response.json() : null;
    $('user').textContent = answer ? `Signed in as ${answer.user}.` : 'Not signed in.';
}
