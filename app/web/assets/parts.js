/** Pieces that several views show. */

import { element, withShare } from "/assets/dom.js";
import { counted, percent, shape } from "/assets/format.js";

const STATUS = {
  queued: "Queued",
  running: "Running",
  paused: "Paused",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);

/** What the API calls a status, as a word with a dot beside it. */
export function statusBadge(status) {
  return element("span", { class: `badge ${status}` }, STATUS[status]);
}

/** What went wrong, in the service's words, as an alert. */
export function problemNotice(problem) {
  return element(
    "div",
    { class: "notice bad", role: "alert" },
    element("strong", {}, problem.title),
    element("p", {}, problem.detail),
    problem.hint ? element("p", {}, problem.hint) : null,
  );
}

/** Something to know, though things go on. */
export function warningNotice({ message }) {
  return element("div", { class: "notice warn" }, element("p", {}, message));
}

/** A figure with its name and what it is made of. */
export function figureItem(name, value, detail) {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element("dd", {}, element("span", { class: "value" }, value), detail ? element("span", { class: "detail" }, detail) : null),
  );
}

/** JSON or a command, with a button that copies it. */
export function codeBlock(text, { name }) {
  const button = element("button", { type: "button", class: "secondary small", onclick: () => copy(text, button) }, "Copy");
  return element(
    "div",
    { class: "code-block" },
    element("pre", { tabindex: "0", role: "region", "aria-label": name }, text),
    button,
  );
}

/** Put `text` on the clipboard, and say so on `button`. */
export async function copy(text, button) {
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // The browser allows it on this machine and over TLS only.
    button.textContent = "Not allowed here";
  }
  setTimeout(() => {
    button.textContent = words;
  }, 2000);
}

/**
 * A row for each weight: its layer, shape, and a bar of its sparsity; those that stay dense are
 * folded away below.
 *
 * `rows` are `{ name, weight, shape, sparsity, pruned, reason, reached?, control? }`; a sparsity of
 * null is decided by the weights alone, and one that is left out is not known yet. `reached` is how
 * sparse it is by now, where it is still on its way; `isMain` tells which rows are not folded away.
 */
export function layerList(rows, { isMain = (row) => row.pruned } = {}) {
  const main = rows.filter(isMain);
  const folded = rows.filter((row, place) => !isMain(row, place));
  const list = (some) => element("ul", { class: "layer-list" }, some.map(layerRow));
  if (folded.length === 0) return list(main);
  const summary = `${counted(folded.length, "tensor")} that ${folded.length === 1 ? "stays" : "stay"} dense, and why`;
  return element("div", {}, list(main), element("details", {}, element("summary", {}, summary), list(folded)));
}

function layerRow({ name, weight, shape: sizes, control, ...fate }) {
  const size = sizes.reduce((product, length) => product * length, 1);
  const kinds = [fate.pruned ? "" : "dense", control ? "steered" : ""].join(" ").trim();
  return element(
    "li",
    { class: kinds || null },
    element("div", { class: "what" }, element("span", { class: "name" }, name), element("span", { class: "weight" }, weight)),
    element("div", { class: "shape" }, shape(sizes), element("span", { class: "detail" }, counted(size, "weight"))),
    element("div", { class: "much" }, fateOf(fate)),
    control ?? null,
  );
}

function fateOf({ sparsity, pruned, reason, reached = sparsity }) {
  if (!pruned) return element("span", { class: "reason" }, reason ?? "left dense");
  if (reached === undefined) return element("span", { class: "reason" }, "can be pruned");
  if (reached === null) return element("span", { class: "reason" }, "pruned; the weights decide how far");
  const bar = element(
    "div",
    { class: "bar", "aria-hidden": "true" },
    withShare(element("span", { class: "goal" }), sparsity ?? 0),
    withShare(element("span", { class: "reached" }), reached),
  );
  return [bar, element("span", { class: "value" }, percent(reached))];
}
