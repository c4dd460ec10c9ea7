/** The curves of a training: sparsity, loss and each metric over the steps, and a table of the epochs. */

import { LineChart } from "/assets/chart.js";
import { element } from "/assets/dom.js";
import { count, exactPercent, figure, percent } from "/assets/format.js";
import { maskSparsityAt } from "/assets/schedule.js";

const SHARES = new Set(["accuracy", "sparsity", "agreement"]);
const MOST_GUIDE_POINTS = 240;

export class TrainingCurves {
  #panels = new Map();

  constructor() {
    this.panels = element("div", { class: "panels" });
    this.table = element("details", { class: "epochs" });
    this.node = element("div", {}, this.panels, this.table);
  }

  /**
   * Draw `history`, as `/metrics` answers it; answers whether there was anything to draw.
   *
   * `schedule` is drawn ahead of the sparsity while the training is live.
   */
  draw(history, { progress, schedule, isLive }) {
    const { steps = {}, epochs = {} } = history ?? {};
    if (!steps.step?.length) return false;
    const total = progress?.total_steps ?? steps.step.at(-1);
    for (const name of Object.keys(steps).filter((column) => column !== "step")) {
      const { chart, latest } = this.#panel(name);
      chart.x.max = total;
      chart.draw([
        { name: name === "sparsity" ? "zeros" : "training", kind: name === "sparsity" ? "stairs" : "line", points: zipped(steps.step, steps[name]) },
        { name: "held out", kind: "dots", points: heldOut(epochs, name, progress) },
        { name: "schedule", kind: "guide", points: name === "sparsity" && isLive ? ahead(schedule, total) : [] },
      ]);
      latest.textContent = words(name, steps[name].findLast((value) => value !== null));
    }
    this.#showTable(epochs);
    return true;
  }

  #panel(name) {
    if (!this.#panels.has(name)) {
      const chart = new LineChart({ name: title(name), x: { min: 0, format: stepWords }, y: axis(name) });
      const latest = element("span", { class: "latest" });
      const figureNode = element("figure", { class: "card panel" }, element("figcaption", {}, title(name), latest), chart.node);
      this.panels[name === "sparsity" ? "prepend" : "append"](figureNode);
      this.#panels.set(name, { chart, latest });
    }
    return this.#panels.get(name);
  }

  #showTable(epochs) {
    this.table.hidden = !epochs.epoch?.length;
    if (this.table.hidden) return;
    const names = Object.keys(epochs);
    const head = element("tr", {}, names.map((name) => element("th", { scope: "col" }, title(name))));
    const rows = epochs.epoch.map((_, place) => element("tr", {}, names.map((name) => element("td", {}, words(name, epochs[name][place])))));
    this.table.replaceChildren(
      element("summary", {}, "The same by epoch, as a table"),
      element("div", { class: "card table-card", tabindex: "0", role: "region", "aria-label": "Figures by epoch" }, element("table", {}, element("thead", {}, head), element("tbody", {}, rows))),
    );
  }
}

function axis(name) {
  if (name === "sparsity") return { min: 0, max: 1, format: (share) => percent(share) };
  if (SHARES.has(name)) return { format: (share, { exact = false } = {}) => (exact ? exactPercent(share) : percent(share)) };
  return { format: (value, { exact = false } = {}) => (exact ? figure(value) : String(value)) };
}

function stepWords(step, { exact = false } = {}) {
  return exact ? `step ${count(step)}` : count(step);
}

function words(name, value) {
  if (value === null || value === undefined) return "overflow";
  if (name === "epoch") return count(value);
  return SHARES.has(name.replace("val_", "")) ? exactPercent(value) : figure(value);
}

/** `val_mean_squared_error` → "Mean squared error, held out". */
function title(name) {
  const bare = name.replace("val_", "").replaceAll("_", " ");
  const capital = bare[0].toUpperCase() + bare.slice(1);
  return name.startsWith("val_") ? `${capital}, held out` : capital;
}

function zipped(xs, ys) {
  return xs.map((x, place) => [x, ys[place]]);
}

/** What was measured on held-out samples, at the last step of each epoch. */
function heldOut(epochs, name, progress) {
  const values = epochs[`val_${name}`];
  if (values === undefined || progress === null) return [];
  const stepsPerEpoch = progress.total_steps / progress.epochs;
  return epochs.epoch.map((epoch, place) => [epoch * stepsPerEpoch, values[place]]);
}

function ahead(schedule, total) {
  const stride = Math.max(1, Math.ceil(total / MOST_GUIDE_POINTS));
  return Array.from({ length: Math.ceil(total / stride) + 1 }, (_, place) => {
    const step = Math.min(place * stride, total);
    return [step, maskSparsityAt(schedule, step)];
  });
}
