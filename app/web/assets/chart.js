/**
 * Line charts in SVG: axes, lines or stairs, and a crosshair that reads the values off.
 *
 * They take their colours from the style sheet, so they follow the dark mode by themselves.
 */

import { element, svg } from "/assets/dom.js";

const HEIGHT = 168;
const MARGIN = { top: 10, right: 10, bottom: 22, left: 46 };
const TICK_DISTANCE = { x: 58, y: 42 };

/**
 * A chart of one quantity over steps.
 *
 * - `name`: what it shows, for those who cannot see it.
 * - `x`, `y`: `{ format, min?, max? }`; a bound that is left out is taken from the points.
 *
 * `node` goes into the page; `draw(series, { marker })` shows `series`, each `{ name, kind, points }`
 * with `kind` one of `line`, `stairs`, `dots`, `guide` and `points` as `[x, y]`, ascending in x; a
 * null y is a gap. `marker` is an x that is pointed out.
 */
export class LineChart {
  #series = [];
  #marker = null;
  #width = 0;

  constructor({ name, x, y }) {
    this.name = name;
    this.x = x;
    this.y = y;
    this.plot = svg("svg", { class: "plot", role: "img", height: HEIGHT, "aria-label": name });
    this.reading = element("p", { class: "reading", "aria-hidden": "true" });
    this.node = element("div", { class: "chart" }, this.plot, this.reading);
    this.plot.addEventListener("pointermove", (event) => this.#read(event));
    this.plot.addEventListener("pointerleave", () => this.#render());
    new ResizeObserver(([entry]) => this.#fit(entry.contentRect.width)).observe(this.node);
  }

  draw(series, { marker = null } = {}) {
    this.#series = series.filter(({ points }) => points.length > 0);
    this.#marker = marker;
    this.plot.setAttribute("aria-label", this.#summary());
    this.#render();
  }

  #fit(width) {
    if (width === this.#width) return;
    this.#width = width;
    this.#render();
  }

  #render(readAt = null) {
    if (this.#width === 0) return;
    const scale = this.#scale();
    this.plot.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.plot.replaceChildren(
      ...this.#grid(scale),
      ...this.#series.flatMap((series, place) => drawn(series, scale, place)),
      ...(this.#marker === null ? [] : [rule(scale, this.#marker, "marker")]),
      ...(readAt === null ? [] : this.#crosshair(scale, readAt)),
    );
    if (readAt === null) this.reading.textContent = "";
  }

  #scale() {
    const xs = this.#series.flatMap(({ points }) => points.map(([x]) => x));
    const ys = this.#series.flatMap(({ points }) => points.map(([, y]) => y).filter((y) => y !== null));
    const [low, high] = padded(this.y.min ?? Math.min(...ys, Infinity), this.y.max ?? Math.max(...ys, -Infinity));
    const inner = { width: this.#width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const yTicks = ticks(low, high, inner.height / TICK_DISTANCE.y);
    const bottom = this.y.min ?? Math.min(low, yTicks[0]);
    const top = this.y.max ?? Math.max(high, yTicks.at(-1));
    const left = this.x.min ?? Math.min(...xs, 0);
    const right = Math.max(this.x.max ?? Math.max(...xs, 1), left + 1);
    return {
      xTicks: ticks(left, right, inner.width / TICK_DISTANCE.x).filter((tick) => tick <= right),
      yTicks: yTicks.filter((tick) => tick >= bottom && tick <= top),
      x: (value) => MARGIN.left + ((value - left) / (right - left)) * inner.width,
      y: (value) => MARGIN.top + (1 - (value - bottom) / (top - bottom)) * inner.height,
      valueAt: (pixel) => left + ((pixel - MARGIN.left) / inner.width) * (right - left),
      right: MARGIN.left + inner.width,
      bottom: MARGIN.top + inner.height,
    };
  }

  #grid(scale) {
    const rows = scale.yTicks.flatMap((tick) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: scale.right, y1: scale.y(tick), y2: scale.y(tick) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: scale.y(tick) + 4, "text-anchor": "end" }, this.y.format(tick)),
    ]);
    const columns = scale.xTicks.map((tick) =>
      svg(
        "text",
        { class: "tick", x: scale.x(tick), y: HEIGHT - 4, "text-anchor": anchor(scale, scale.x(tick)) },
        this.x.format(tick),
      ),
    );
    return [...rows, ...columns];
  }

  #crosshair(scale, x) {
    const dots = this.#series
      .filter(({ kind }) => kind !== "guide")
      .map((series) => [series, valueAt(series, x)])
      .filter(([, value]) => value !== null)
      .map(([, value]) => svg("circle", { class: "reading-dot", cx: scale.x(x), cy: scale.y(value), r: 4 }));
    return [rule(scale, x, "crosshair"), ...dots];
  }

  #read(event) {
    if (this.#series.length === 0) return;
    const scale = this.#scale();
    const pixel = event.clientX - this.plot.getBoundingClientRect().left;
    const x = nearest(this.#series[0], scale.valueAt(pixel));
    this.#render(x);
    const values = this.#series
      .filter(({ kind }) => kind !== "guide")
      .map((series) => [series.name, valueAt(series, x)])
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name} ${this.y.format(value, { exact: true })}`);
    this.reading.textContent = [this.x.format(x, { exact: true }), ...values].join(" · ");
  }

  #summary() {
    const last = this.#series
      .filter(({ kind }) => kind !== "guide")
      .map(({ name, points }) => [name, points.at(-1)])
      .filter(([, [, y]]) => y !== null)
      .map(([name, [x, y]]) => `${name} ${this.y.format(y, { exact: true })} at ${this.x.format(x, { exact: true })}`);
    return last.length > 0 ? `${this.name}: ${last.join(", ")}` : `${this.name}: nothing yet`;
  }
}

/** Round numbers from at most `low` to at least `high`, about `wanted` of them. */
export function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

/** Bounds with something between them. */
function padded(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  return low === high ? [low - Math.max(Math.abs(low), 1) / 10, high + Math.max(Math.abs(high), 1) / 10] : [low, high];
}

function drawn({ kind, points }, scale, place) {
  const known = points.filter(([, y]) => y !== null).map(([x, y]) => [scale.x(x), scale.y(y)]);
  if (known.length === 0) return [];
  if (kind === "dots") {
    return known.map(([x, y]) => svg("circle", { class: `dot series-${place}`, cx: x, cy: y, r: 3.5 }));
  }
  const path = kind === "stairs" ? stairs(known) : straight(known);
  const line = svg("path", { class: `${kind} series-${place}`, d: path });
  if (kind !== "stairs") return [line];
  const area = `${path}V${scale.bottom}H${known[0][0]}Z`;
  return [svg("path", { class: "area", d: area }), line];
}

function straight(points) {
  return `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
}

function stairs([first, ...rest]) {
  return `M${first[0].toFixed(1)},${first[1].toFixed(1)}${rest.map(([x, y]) => `H${x.toFixed(1)}V${y.toFixed(1)}`).join("")}`;
}

function rule(scale, x, name) {
  return svg("line", { class: name, x1: scale.x(x), x2: scale.x(x), y1: MARGIN.top, y2: scale.bottom });
}

function anchor(scale, x) {
  if (x > scale.right - 16) return "end";
  return x < MARGIN.left + 4 ? "start" : "middle";
}

/** The x of a series that is nearest to `x`; on stairs, every whole x has a value. */
function nearest({ kind, points }, x) {
  const first = points[0][0];
  const last = points.at(-1)[0];
  const inside = Math.min(Math.max(x, first), last);
  if (kind === "stairs") return Math.round(inside);
  return points.reduce((best, [there]) => (Math.abs(there - x) < Math.abs(best - x) ? there : best), first);
}

function valueAt({ kind, points }, x) {
  const before = points.findLast(([there]) => there <= x);
  if (before === undefined) return null;
  return kind === "stairs" || before[0] === x ? before[1] : null;
}
