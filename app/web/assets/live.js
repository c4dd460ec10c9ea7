/**
 * Server-sent events, taken up where they broke off.
 *
 * An `EventSource` cannot send an API key; `fetch` can, and the rest of the protocol is short.
 */

import { Problem, open } from "/assets/api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

/**
 * Follow a stream of events until nothing more can come, or `signal` aborts.
 *
 * `onEvent` is called with each event's data; `onConnection` with whether the stream stands,
 * whenever that changes.
 *
 * Throws the `Problem` when the service refuses the stream: trying again would not help.
 */
export async function follow(path, { signal, onEvent, onConnection }) {
  let seen = 0;
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": String(seen) };
      const answer = await open(path, { headers, signal });
      if (answer.status === 204) return;
      onConnection(true);
      for await (const message of messages(answer.body)) {
        seen = message.id;
        pause = FIRST_PAUSE;
        onEvent(JSON.parse(message.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status >= 400 && error.status < 500) throw error;
      onConnection(false);
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }
}

async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const message = parsed(block);
      if (message !== null) yield message;
    }
  }
}

/** One event; `null` for a comment, which only keeps the connection awake. */
function parsed(block) {
  const fields = block
    .split("\n")
    .filter((line) => !line.startsWith(":"))
    .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()]);
  const data = fields.filter(([name]) => name === "data").map(([, value]) => value);
  if (data.length === 0) return null;
  return { id: Number(Object.fromEntries(fields).id), data: data.join("\n") };
}
