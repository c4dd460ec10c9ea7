/** `/jobs`: every job, the newest first. */

import { get } from "/assets/api.js";
import { element } from "/assets/dom.js";
import { bytes, percent, since } from "/assets/format.js";
import { FINAL, problemNotice, statusBadge } from "/assets/parts.js";

const FILTERS = {
  "": "All",
  running: "Running",
  queued: "Queued",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
};
const PAGE = 20;
const REFRESH = 3000;

export function showJobs({ main, signal }) {
  document.title = "Jobs · Espalier";
  new Jobs(main, signal).begin();
}

class Jobs {
  #jobs = [];
  #cursor = null;

  constructor(main, signal) {
    this.signal = signal;
    this.status = new URLSearchParams(location.search).get("status") ?? "";
    this.rows = element("tbody");
    this.more = element("button", { type: "button", class: "secondary", onclick: () => this.#showMore() }, "Show older jobs");
    this.notices = element("div");
    this.content = element("div");
    main.append(
      element("div", { class: "lead" }, element("h1", { tabindex: "-1" }, "Jobs")),
      element("nav", { class: "filters", "aria-label": "Filter by status" }, Object.entries(FILTERS).map(([status, words]) => this.#filter(status, words))),
      this.notices,
      this.content,
    );
  }

  async begin() {
    await this.#refresh();
    const timer = setInterval(() => this.#refreshIfMoving(), REFRESH);
    this.signal.addEventListener("abort", () => clearInterval(timer));
  }

  #filter(status, words) {
    const href = status === "" ? "/jobs" : `/jobs?status=${status}`;
    return element("a", { href, "aria-current": status === this.status ? "page" : null }, words);
  }

  /** Look again while something moves, at as many jobs as are shown. */
  #refreshIfMoving() {
    if (document.hidden || (this.#jobs.length > 0 && this.#jobs.every(({ status }) => FINAL.has(status)))) return;
    if (this.#jobs.length <= PAGE) this.#refresh();
  }

  async #refresh() {
    await this.#fetch(null, (jobs) => jobs);
  }

  async #showMore() {
    const last = this.#jobs.length;
    await this.#fetch(this.#cursor, (jobs) => [...this.#jobs, ...jobs]);
    this.rows.rows[last]?.querySelector("a").focus();
  }

  async #fetch(after, joined) {
    const query = new URLSearchParams({ limit: PAGE, ...(after ? { after } : {}), ...(this.status ? { status: this.status } : {}) });
    try {
      const { jobs, next_cursor } = await get(`/v1/jobs?${query}`, { signal: this.signal });
      this.#jobs = joined(jobs);
      this.#cursor = next_cursor;
      this.notices.replaceChildren();
      this.#show();
    } catch (problem) {
      if (problem.name !== "AbortError") this.notices.replaceChildren(problemNotice(problem));
    }
  }

  #show() {
    const focused = document.activeElement?.getAttribute("href");
    this.rows.replaceChildren(...this.#jobs.map(row));
    this.content.replaceChildren(this.#jobs.length > 0 ? this.#table() : this.#nothing());
    if (this.#cursor !== null) this.content.append(this.more);
    if (focused && document.activeElement === document.body) this.rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  #table() {
    const heads = ["Model", "Status", "Sparsity", "Size", "Created"];
    return element(
      "div",
      { class: "card table-card" },
      element("table", { class: "jobs" }, element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))), this.rows),
    );
  }

  #nothing() {
    const words = this.status === "" ? "No job yet." : `No job is ${this.status}.`;
    return element("div", { class: "card empty" }, element("p", {}, words), element("a", { class: "button primary", href: "/" }, "Prune a model"));
  }
}

function row(job) {
  return element(
    "tr",
    {},
    element("td", {}, element("a", { href: `/jobs/${job.id}` }, job.model.filename), element("span", { class: "detail" }, job.dataset?.filename ?? "no data")),
    element("td", {}, statusBadge(job.status), progressWords(job)),
    element("td", { class: "number" }, percent(job.result?.sparsity ?? goal(job.spec.schedule))),
    element("td", { class: "number" }, sizeWords(job)),
    element("td", {}, element("time", { datetime: job.created_at }, since(job.created_at))),
  );
}

function progressWords({ status, stage, progress }) {
  if (status !== "running") return null;
  const words = progress === null ? (stage ?? "starting").replace("_", "-") : percent(progress.step / Math.max(progress.total_steps, 1), 0);
  return element("span", { class: "detail" }, words);
}

/** What was sent; once there is a result, what became of it, the optimizer left out of both. */
function sizeWords({ model, result }) {
  if (result === null) return bytes(model.bytes);
  return `${bytes(result.uploaded.bytes_without_optimizer)} to ${bytes(result.artifacts[0].bytes)}`;
}

function goal(schedule) {
  return schedule.final_sparsity ?? schedule.target_sparsity ?? 0;
}
