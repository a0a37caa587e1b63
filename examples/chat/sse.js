/**
 * Server-Sent Events from text that arrives in pieces, by the rules of the WHATWG HTML standard, section 9.2.6.
 * For use with fetch(); EventSource does the same inside the browser.
 */
export class EventParser {
    #line = ''; // the beginning of a line whose end has not arrived
    #afterCr = false; // the last piece ended with CR: an LF at the start of the next one belongs to it
    #type = '';
    #data = [];

    /** Takes the next piece; returns the events that it completes, each `{ type, data }`. */
    push(text) {
        if (text === '') return [];
        if (this.#afterCr && text[0] === '\n') text = text.slice(1);
        this.#afterCr = text.endsWith('\r');

        const lines = (this.#line + text).split(/\r\n|\r|\n/);
        this.#line = lines.pop();
        return lines.map((line) => this.#take(line)).filter((event) => event !== null);
    }

    #take(line) {
        if (line === '') {
            const event = { type: this.#type || 'message', data: this.#data.join('\n') };
            const complete = this.#data.length > 0;
            this.#type = '';
            this.#data = [];
            return complete ? event : null;
        }
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon); // empty: a comment
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (field === 'data') this.#data.push(value);
        if (field === 'event') this.#type = value;
        return null;
    }
}
