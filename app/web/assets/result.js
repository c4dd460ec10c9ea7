/** What a finished job found out: before and after, what became of the bytes, the files. */

import { hasKey, open } from "/assets/api.js";
import { element, withShare } from "/assets/dom.js";
import { bytes, count, exactPercent, figure, percent, points, signed } from "/assets/format.js";
import { problemNotice } from "/assets/parts.js";

const SHARES = new Set(["accuracy", "agreement"]);
/** Files beside the models, by what the list of artifacts calls their formats. */
const RECORDS = {
  bundle: "what it takes to do the job again: settings, hashes, versions, schedule, masks",
  tensorboard: "the curves, for TensorBoard",
};

/** A table of before and after. */
export function comparison({ baseline, pruned, evaluated_on, parameters, artifacts, sparsity }) {
  const zeros = parameters.total - parameters.nonzero;
  const rows = [
    ...metricRows(baseline ?? {}, pruned ?? {}),
    ["Weights that are not zero", count(parameters.total), count(parameters.nonzero), `−${count(zeros)}`],
    ...artifacts.slice(0, 1).map(timeRow),
  ];
  const measured = evaluated_on ? `On ${count(evaluated_on.samples)} ${evaluated_on.split} samples. ` : "";
  return element(
    "div",
    { class: "card comparison" },
    element("h2", {}, "Before and after"),
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ["", "before", "after", "change"].map((head) => (head ? element("th", { scope: "col" }, head) : element("td"))))),
      element("tbody", {}, rows.map(([name, ...values]) => element("tr", {}, element("th", { scope: "row" }, name), values.map((value) => element("td", {}, value || "–"))))),
    ),
    element("p", { class: "detail" }, `${measured}${percent(sparsity, 2)} of the ${count(parameters.prunable)} prunable weights are zero. Every figure is measured on the files below.`),
  );
}

/** What became of the bytes: optimizer, pruning and compression told apart. */
export function sizes({ uploaded, artifacts }) {
  const [file] = artifacts;
  const rows = [
    ["As uploaded", uploaded.bytes, null],
    ["Without the optimizer", uploaded.bytes_without_optimizer, "what only training needs is gone"],
    ["Pruned and compressed", file.bytes, `${(uploaded.bytes_without_optimizer / file.bytes).toFixed(1)} times smaller again`],
  ];
  return element(
    "div",
    { class: "card sizes" },
    element("h2", {}, "Size of the file"),
    element("p", { class: "headline" }, bytes(file.bytes), element("span", {}, `from ${bytes(uploaded.bytes)}`)),
    element(
      "ul",
      {},
      rows.map(([name, size, detail]) =>
        element(
          "li",
          {},
          element("div", { class: "label" }, element("span", {}, name), element("span", { class: "value" }, bytes(size))),
          withShare(element("div", { class: "bar", "aria-hidden": "true" }, element("span", { class: "reached" })), size / uploaded.bytes),
          detail ? element("span", { class: "detail" }, detail) : null,
        ),
      ),
    ),
  );
}

/** Every file with what was measured on it. */
export function downloads(path, { artifacts }) {
  return element(
    "div",
    { class: "card downloads" },
    element("h2", {}, "Download"),
    element("ul", {}, artifacts.map((artifact) => download(`${path}/artifacts/${artifact.name}`, artifact))),
  );
}

/** What tells of the run, for the list of downloads; nothing for a file that is a model. */
export function records(path, files) {
  return files
    .filter(({ format }) => format in RECORDS)
    .map(({ name, format, bytes: size }) => fileItem(`${path}/artifacts/${name}`, name, "secondary", element("span", { class: "detail" }, `${bytes(size)} · ${RECORDS[format]}`)));
}

function download(url, { name, bytes: size, compressed_bytes, sha256, verified, max_abs_error, metrics, latency_ms, remarks }) {
  const facts = [
    bytes(size),
    `${bytes(compressed_bytes)} with gzip`,
    "accuracy" in metrics ? `accuracy ${exactPercent(metrics.accuracy, 2)}` : null,
    `${milliseconds(latency_ms)} for one prediction`,
    verified ? `opened again: outputs differ by at most ${figure(max_abs_error)}` : null,
  ];
  return fileItem(
    url,
    name,
    "primary",
    element("span", { class: "detail" }, facts.filter((fact) => fact !== null).join(" · ")),
    remarks.map((remark) => element("span", { class: "detail" }, remark)),
    element("code", { class: "hash", title: "SHA-256" }, sha256),
  );
}

function fileItem(url, name, kind, ...details) {
  const link = element("a", { class: `button ${kind}`, href: url, download: name, "aria-label": `Download ${name}` }, "Download");
  const item = element("li", {}, element("div", { class: "what" }, element("span", { class: "name" }, name), ...details), link);
  if (hasKey()) link.addEventListener("click", (event) => saveWithKey(event, item));
  return item;
}

/** Fetch the file with the key, which a link cannot carry, and save it; complain in `item`. */
export async function saveWithKey(event, item) {
  event.preventDefault();
  const { href, download: name } = event.currentTarget;
  try {
    const content = await (await open(new URL(href).pathname)).blob();
    const address = URL.createObjectURL(content);
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (problem) {
    item.append(problemNotice(problem));
  }
}

/** Before: the same network in the same file, with no weight zero. */
function timeRow({ latency, latency_ms }) {
  const dense = latency.at(-1)?.dense.median_ms;
  return ["Time of one prediction", dense === undefined ? "" : milliseconds(dense), milliseconds(latency_ms), ""];
}

function milliseconds(time) {
  return `${time.toFixed(2)} ms`;
}

function metricRows(baseline, pruned) {
  return Object.keys(pruned)
    .sort()
    .map((name) => {
      const words = (value) => (value === undefined || value === null ? "" : SHARES.has(name) ? exactPercent(value, 2) : figure(value));
      const change = pruned[name] - baseline[name];
      const isKnown = Number.isFinite(change);
      const difference = SHARES.has(name) ? points(change) : signed(change.toFixed(4));
      return [title(name), words(baseline[name]), words(pruned[name]), isKnown ? difference : ""];
    });
}

function title(name) {
  return name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
}
