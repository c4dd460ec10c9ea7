/** The service, as its API shows it: HTTP in, records or a `Problem` out. */

const KEY = "espalier.key";

let askForKey = null;
let asked = null;
let schema = null;

/** Why a call was not carried out, in the service's words (RFC 9457). */
export class Problem extends Error {
  constructor({ status, title, detail, code, hint = null, errors = [] }) {
    super(detail);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.code = code;
    this.hint = hint;
    this.errors = errors; //: `{ pointer, message }`, every fault of a 422.
  }
}

/** Name who asks the user for an API key; called with whether the last one was refused. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Whether calls carry a key, so that a bare link could not be followed. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

export function get(path, { signal } = {}) {
  return call("GET", path, { signal });
}

export function post(path, body, { signal, headers } = {}) {
  return call("POST", path, { signal, headers, body });
}

export function remove(path) {
  return call("DELETE", path);
}

/** Open a call without reading its answer: for streams and downloads. */
export async function open(path, { method = "GET", headers = {}, body, signal } = {}) {
  for (;;) {
    const answer = await reached(() =>
      fetch(path, { method, headers: { ...headers, ...authorization() }, body, signal, cache: "no-store" }),
    );
    if (answer.ok) return answer;
    const problem = problemOf(answer.status, answer.statusText, await answer.text());
    if (!(await gaveKey(problem))) throw problem;
  }
}

/**
 * Send a file as one part of a form, and answer with the record of what was stored.
 *
 * `fetch` does not say how far an upload is; `onProgress` is called with the share that was sent.
 */
export async function upload(path, part, file, { onProgress, signal }) {
  for (;;) {
    const { status, statusText, text } = await reached(() => sent(path, part, file, onProgress, signal));
    if (status < 300) return JSON.parse(text);
    const problem = problemOf(status, statusText, text);
    if (!(await gaveKey(problem))) throw problem;
  }
}

/** Whether the service has the call, for what some versions of it lack. */
export async function offers(path) {
  return path in (await openapi()).paths;
}

/** The names that a field of a record may have, as the service's schema lists them. */
export async function namesOf(record, field) {
  const property = (await openapi()).components.schemas[record]?.properties?.[field];
  return property?.items?.enum ?? [];
}

/** A key for `Idempotency-Key`, new each time; `randomUUID` is missing where there is no TLS. */
export function freshKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function call(method, path, { body, headers = {}, signal } = {}) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await open(path, {
    method,
    headers: { ...json, ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  });
  return answer.status === 204 ? null : answer.json();
}

function openapi() {
  schema ??= get("/openapi.json").catch((problem) => {
    schema = null;
    throw problem;
  });
  return schema;
}

async function reached(attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      status: 0,
      code: "unreachable",
      title: "The service cannot be reached",
      detail: "The service does not answer.",
      hint: "See whether it still runs, then try again.",
    });
  }
}

function sent(path, part, file, onProgress, signal) {
  const form = new FormData();
  form.append(part, file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onload = () =>
      resolve({ status: request.status, statusText: request.statusText, text: request.responseText });
    request.onerror = () => reject(new TypeError("the upload broke off"));
    request.onabort = () => reject(new DOMException("the upload was withdrawn", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function problemOf(status, statusText, text) {
  try {
    return new Problem(JSON.parse(text));
  } catch {
    return new Problem({ status, code: "no_problem", title: statusText || "No answer", detail: `The service answered with ${status}.` });
  }
}

function authorization() {
  return hasKey() ? { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : {};
}

/** Ask for a key where one is missing or refused; many calls at once ask once. */
async function gaveKey(problem) {
  if (problem.status !== 401 || askForKey === null) return false;
  asked ??= askForKey({ wasRefused: hasKey() }).finally(() => {
    asked = null;
  });
  const key = await asked;
  if (key === null) return false;
  sessionStorage.setItem(KEY, key);
  return true;
}
