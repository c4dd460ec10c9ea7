/** `/jobs/<id>`: one job, as it goes on and as it ended. */

import { Problem, get, hasKey, offers, post, remove } from "/assets/api.js";
import { confirmed } from "/assets/dialogs.js";
import { announce, element, withShare } from "/assets/dom.js";
import { at, count, duration, percent } from "/assets/format.js";
import { follow } from "/assets/live.js";
import { FINAL, codeBlock, copy, layerList, problemNotice, statusBadge, warningNotice } from "/assets/parts.js";
import { DeliveryLog } from "/assets/delivery-log.js";
import { comparison, downloads, records, saveWithKey, sizes } from "/assets/result.js";
import { TrainingCurves } from "/assets/training-curves.js";

const STAGES = { queued: "Queued", validating: "Checking", baseline: "Measuring", fine_tuning: "Fine-tuning", exporting: "Exporting", verifying: "Verifying" };
const HISTORY_INTERVAL = 1000;

export function showJob({ main, id, signal, navigate }) {
  document.title = "Job · Espalier";
  new JobView(main, id, signal, navigate).begin();
}

class JobView {
  #job = null;
  #plan = null;
  #history = null;
  #isFetchingHistory = false;

  constructor(main, id, signal, navigate) {
    this.main = main;
    this.path = `/v1/jobs/${id}`;
    this.signal = signal;
    this.navigate = navigate;
    this.parts = Object.fromEntries(["head", "notices", "progress", "result", "curves", "layers", "deliveries", "settings"].map((name) => [name, element("section", { class: name })]));
    this.curves = new TrainingCurves();
    this.deliveries = new DeliveryLog(this.parts.deliveries, `${this.path}/deliveries`, signal);
  }

  /** Show the job, and follow it to its end. */
  async begin() {
    try {
      await this.#refresh();
    } catch (problem) {
      if (problem.name !== "AbortError") this.main.replaceChildren(problemNotice(problem), element("a", { class: "button secondary", href: "/jobs" }, "All jobs"));
      return;
    }
    this.main.replaceChildren(...Object.values(this.parts));
    this.#foresee();
    await this.#fetchHistory();
    await this.#follow();
  }

  async #follow() {
    if (FINAL.has(this.#job.status)) return;
    const banner = document.getElementById("connection");
    try {
      await follow(`${this.path}/events`, {
        signal: this.signal,
        onEvent: (event) => this.#hear(event),
        onConnection: (stands) => {
          banner.hidden = stands;
          banner.textContent = stands ? "" : "The connection is lost; trying again …";
        },
      });
      await this.#refresh();
      await this.#fetchHistory();
    } catch (problem) {
      if (!this.signal.aborted) this.#complain(problem);
    }
  }

  #hear({ kind, data }) {
    if (kind === "progress") {
      // Layers come only where they have changed.
      this.#job = { ...this.#job, progress: { layers: this.#job.progress?.layers ?? [], ...data } };
      this.#showProgress();
      this.#showLayers();
      this.#fetchHistory();
      return;
    }
    if (kind === "stage") announce(STAGES[data.stage]);
    if (kind === "status") announce(`The job is ${data.status}.`);
    if (kind !== "epoch") this.#refresh().catch((problem) => this.#complain(problem));
  }

  async #refresh() {
    this.#job = await get(this.path, { signal: this.signal });
    this.#showHead();
    this.#showNotices();
    this.#showProgress();
    this.#showResult();
    this.#showLayers();
    this.#showSettings();
    this.deliveries.show(this.#job.spec.webhook, { hasEnded: FINAL.has(this.#job.status) });
  }

  /** Ask what the job will do to each layer; a model that was removed since tells no more. */
  async #foresee() {
    const { model, dataset, spec, result } = this.#job;
    if (result !== null) return;
    const body = { model_id: model.id, ...(dataset ? { dataset_id: dataset.id } : {}), spec };
    this.#plan = await post("/v1/jobs/preflight", body, { signal: this.signal }).catch(() => null);
    this.#showLayers();
  }

  /** Fetch the history, at most once a second however often it is asked for. */
  async #fetchHistory() {
    if (this.#isFetchingHistory || this.signal.aborted) return;
    this.#isFetchingHistory = true;
    setTimeout(() => {
      this.#isFetchingHistory = false;
    }, HISTORY_INTERVAL);
    this.#history = await get(`${this.path}/metrics`, { signal: this.signal }).catch(() => this.#history);
    this.#showCurves();
  }

  #complain(problem) {
    if (problem.name !== "AbortError") this.parts.notices.prepend(problemNotice(problem));
  }

  #showHead() {
    const { id, model, dataset, status, created_at, started_at, finished_at } = this.#job;
    const took = started_at && finished_at ? `took ${duration((new Date(finished_at) - new Date(started_at)) / 1000)}` : null;
    const facts = [dataset ? `on ${dataset.filename}` : "without data", at(created_at), took].filter((fact) => fact !== null);
    document.title = `${model.filename} · Espalier`;
    this.parts.head.replaceChildren(
      element("div", { class: "heading" }, element("h1", { tabindex: "-1" }, model.filename), statusBadge(status)),
      element("p", { class: "facts" }, `${facts.join(" · ")} · `, element("code", {}, id)),
      this.#actions(),
    );
  }

  #actions() {
    const { id, status } = this.#job;
    const buttons = element("div", { class: "buttons" });
    const link = element("button", { type: "button", class: "secondary small", onclick: () => copy(location.href, link) }, "Copy link");
    buttons.append(link, element("a", { class: "button secondary small", href: `/?job=${id}` }, "Prune again"), this.#report(buttons));
    this.#offer(buttons, status === "running", "pause", "Pause");
    this.#offer(buttons, status === "paused", "resume", "Resume");
    buttons.append(
      FINAL.has(status)
        ? element("button", { type: "button", class: "secondary small", onclick: () => this.#delete() }, "Delete")
        : element("button", { type: "button", class: "secondary small", onclick: () => this.#cancel() }, "Cancel"),
    );
    return buttons;
  }

  /** A link to the report, which is saved where a key would be needed to open it. */
  #report(buttons) {
    const { id, report_url } = this.#job;
    if (!hasKey()) return element("a", { class: "button secondary small", href: report_url }, "Report");
    return element("a", { class: "button secondary small", href: report_url, download: `${id}.html`, onclick: (event) => saveWithKey(event, buttons) }, "Report");
  }

  /** Put in a move that fits the status, where this version of the service has it. */
  async #offer(buttons, isFitting, move, words) {
    if (!isFitting || !(await offers(`/v1/jobs/{job_id}/${move}`).catch(() => false))) return;
    buttons.lastElementChild.before(element("button", { type: "button", class: "secondary small", onclick: () => this.#do(move) }, words));
  }

  async #cancel() {
    const isSure = await confirmed({ title: "Cancel this job?", text: "What it has trained so far is lost. The model and the data stay.", action: "Cancel the job" });
    if (isSure) await this.#do("cancel");
  }

  async #do(move) {
    try {
      await post(`${this.path}/${move}`);
      await this.#refresh();
    } catch (problem) {
      this.#complain(problem);
    }
  }

  async #delete() {
    const isSure = await confirmed({ title: "Delete this job?", text: "Its files and figures are removed for good.", action: "Delete the job" });
    if (!isSure) return;
    try {
      await remove(this.path);
      this.navigate("/jobs");
      announce("The job is deleted.");
    } catch (problem) {
      this.#complain(problem);
    }
  }

  #showNotices() {
    const { failure, warnings, status, stage } = this.#job;
    const where = stage ? ` It ended while ${STAGES[stage].toLowerCase()}.` : "";
    this.parts.notices.replaceChildren(
      ...(failure ? [problemNotice({ title: "The job failed", detail: failure.message, hint: failure.hint })] : []),
      ...(status === "cancelled" ? [element("div", { class: "notice" }, element("p", {}, `The job was cancelled.${where}`))] : []),
      ...warnings.map(warningNotice),
    );
  }

  #showProgress() {
    const { status, stage, progress, model } = this.#job;
    this.parts.progress.hidden = FINAL.has(status);
    if (this.parts.progress.hidden) return;
    const current = status === "running" ? (stage ?? "validating") : "queued";
    const place = Object.keys(STAGES).indexOf(current);
    const steps = Object.entries(STAGES).map(([name, words], index) =>
      element("li", { class: index < place ? "done" : null, "aria-current": index === place ? "step" : null }, name === "queued" && status === "paused" ? "Paused" : words),
    );
    const share = progress ? progress.step / Math.max(progress.total_steps, 1) : 0;
    const bar = element(
      "div",
      { class: "bar", role: "progressbar", "aria-label": "Fine-tuning", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share * 100) },
      element("span", { class: "reached" }),
    );
    this.parts.progress.replaceChildren(
      element("ol", { class: "stages", "aria-label": "Stages" }, steps),
      withShare(bar, share),
      element("p", { class: "facts" }, progressWords(progress)),
    );
    if (progress && status === "running") document.title = `${percent(share, 0)} · ${model.filename} · Espalier`;
  }

  #showResult() {
    const { result } = this.#job;
    this.parts.result.hidden = result === null;
    if (result === null || this.parts.result.hasChildNodes()) return;
    const files = downloads(this.path, result);
    this.parts.result.append(comparison(result), sizes(result), files);
    this.#addRecords(files);
  }

  async #addRecords(files) {
    const all = await get(`${this.path}/artifacts`, { signal: this.signal }).catch(() => []);
    files.querySelector("ul").append(...records(this.path, all));
  }

  #showCurves() {
    const { status, progress, spec } = this.#job;
    this.parts.curves.hidden = !this.curves.draw(this.#history, { progress, schedule: spec.schedule, isLive: !FINAL.has(status) });
    if (!this.parts.curves.hasChildNodes()) {
      this.parts.curves.append(element("h2", {}, "Training"), this.curves.node);
    }
  }

  #showLayers() {
    const { result, progress } = this.#job;
    const layers = result?.layers ?? this.#plan?.layers ?? null;
    this.parts.layers.hidden = layers === null;
    if (layers === null) return;
    const title = result !== null ? "Layers, as counted in the file" : "Layers, and how far they are";
    const rows = result !== null ? layers : onTheirWay(layers, progress?.layers ?? []);
    this.parts.layers.replaceChildren(element("h2", {}, title), element("div", { class: "card" }, layerList(rows)));
  }

  #showSettings() {
    if (this.parts.settings.hasChildNodes()) return;
    const { spec } = this.#job;
    this.parts.settings.append(
      element("details", {}, element("summary", {}, "Settings of this job"), codeBlock(JSON.stringify(spec, null, 2), { name: "Settings as JSON" })),
    );
  }
}

/** The layers of a plan, each with how sparse it is by now. */
function onTheirWay(layers, counted) {
  const name = (layer) => `${layer.name}/${layer.weight}`;
  const reached = new Map(counted.map((layer) => [name(layer), layer.sparsity]));
  return layers.map((layer) => ({ ...layer, reached: reached.get(name(layer)) ?? 0 }));
}

function progressWords(progress) {
  if (progress === null) return "Waiting for the first step.";
  const { step, total_steps, epoch, epochs, sparsity, eta_seconds } = progress;
  const words = [`Step ${count(step)} of ${count(total_steps)}`, `epoch ${count(epoch)} of ${count(epochs)}`, `${percent(sparsity)} zeros`];
  if (eta_seconds !== null && step < total_steps) words.push(`${duration(eta_seconds)} left`);
  return words.join(" · ");
}
