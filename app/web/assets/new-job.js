/** `/`: drop the files, set the schedule, see what it would do, start. */

import { Problem, freshKey, get, hasKey, namesOf, post } from "/assets/api.js";
import { LineChart } from "/assets/chart.js";
import { announce, element } from "/assets/dom.js";
import { FileSlot } from "/assets/file-slot.js";
import { bytes, count, counted, percent } from "/assets/format.js";
import { codeBlock, figureItem, layerList, problemNotice, warningNotice } from "/assets/parts.js";
import { corners, resolved, sparsityAt } from "/assets/schedule.js";
import { Settings } from "/assets/settings.js";

const MODEL_FILE = /\.(keras|h5|hdf5|tflite|pb|onnx|pt)$/i;
const PREFLIGHT_DELAY = 150;
/** Steps of a training that nobody knows the length of: the axis then shows shares of it. */
const UNKNOWN_STEPS = 1000;
const GUIDE_POINTS = 120;

export function showNewJob({ main, signal, navigate }) {
  document.title = "Espalier";
  main.append(document.getElementById("new-job-template").content.cloneNode(true));
  new NewJob(main, signal, navigate).begin();
}

class NewJob {
  #plan = null;
  #preflight = null;
  #timer = null;
  #order = null; //: The body that was sent last and the key it was sent with, to send it once only.

  constructor(main, signal, navigate) {
    this.find = (selector) => main.querySelector(selector);
    this.signal = signal;
    this.navigate = navigate;
    this.settings = new Settings(this.find("form"), { onChange: () => this.#changed() });
    this.model = this.#slot("model");
    this.data = this.#slot("data");
    this.curve = new LineChart({
      name: "Sparsity over the training",
      x: { format: (step, options) => this.#stepWords(step, options) },
      y: { min: 0, max: 1, format: (share) => percent(share) },
    });
    this.find(".curve").append(this.curve.node);
    this.find("form").addEventListener("submit", (event) => this.#submit(event));
    this.#takeDrops();
  }

  /** Show what the address names, and wait for the user. */
  async begin() {
    this.#draw();
    this.#showForecast();
    namesOf("JobSpec", "artifacts").then((formats) => this.settings.offer(formats), () => undefined);
    const query = new URLSearchParams(location.search);
    try {
      if (query.has("job")) await this.#startFrom(query.get("job"));
      else await this.#load(query.get("model"), query.get("data"));
    } catch (problem) {
      this.find(".files").before(problemNotice(problem));
    }
  }

  async #startFrom(id) {
    const job = await get(`/v1/jobs/${id}`, { signal: this.signal });
    this.settings.fill(job.spec, job.progress?.total_steps ?? 0);
    await this.#load(job.model.id, job.dataset?.id);
  }

  async #load(model, data) {
    if (model) await this.model.load(model);
    if (data) await this.data.load(data);
  }

  #slot(kind) {
    return new FileSlot({
      kind,
      node: this.find(`[data-slot=${kind}]`),
      signal: this.signal,
      onChange: () => this.#filesChanged(),
    });
  }

  /** Take files wherever they are dropped: on a place of their own, or else by their names. */
  #takeDrops() {
    const options = { signal: this.signal };
    const over = (event) => {
      event.preventDefault();
      document.body.classList.add("dragging");
    };
    const done = () => document.body.classList.remove("dragging");
    document.addEventListener("dragover", over, options);
    document.addEventListener("dragleave", (event) => event.relatedTarget === null && done(), options);
    document.addEventListener(
      "drop",
      (event) => {
        event.preventDefault();
        done();
        const place = event.target.closest?.("[data-slot]")?.dataset.slot;
        const files = [...event.dataTransfer.files];
        for (const file of files) this.#slotFor(file, files.length === 1 ? place : undefined).take(file);
      },
      options,
    );
  }

  #slotFor(file, place) {
    return (place ?? (MODEL_FILE.test(file.name) ? "model" : "data")) === "model" ? this.model : this.data;
  }

  #filesChanged() {
    const query = new URLSearchParams();
    if (this.model.record) query.set("model", this.model.record.id);
    if (this.data.record) query.set("data", this.data.record.id);
    history.replaceState(null, "", query.size > 0 ? `/?${query}` : "/");
    this.settings.reads(this.data.record?.kind ?? null);
    this.#plan = null;
    this.#changed();
  }

  #changed() {
    this.#draw();
    clearTimeout(this.#timer);
    this.#preflight?.abort();
    this.find("[type=submit]").disabled = true;
    if (this.model.record === null) {
      this.#plan = null;
      this.#showForecast();
      return;
    }
    this.#timer = setTimeout(() => this.#ask(), PREFLIGHT_DELAY);
  }

  async #ask() {
    const asking = new AbortController();
    this.#preflight = asking;
    try {
      this.#plan = await post("/v1/jobs/preflight", this.#body(), { signal: asking.signal });
      this.#showForecast();
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.#showForecast(problem);
    }
  }

  #body() {
    return {
      model_id: this.model.record.id,
      ...(this.data.record ? { dataset_id: this.data.record.id } : {}),
      spec: this.settings.spec(),
      going_with_job: [
        ...(this.model.isSentHere ? ["model"] : []),
        ...(this.data.isSentHere ? ["dataset"] : []),
      ],
    };
  }

  async #submit(event) {
    event.preventDefault();
    const button = this.find("[type=submit]");
    if (button.disabled) return;
    button.disabled = true;
    const body = this.#body();
    const text = JSON.stringify(body);
    if (this.#order?.text !== text) this.#order = { text, key: freshKey() };
    try {
      const job = await post("/v1/jobs", body, { headers: { "Idempotency-Key": this.#order.key } });
      this.navigate(`/jobs/${job.id}`);
    } catch (problem) {
      this.#showForecast(problem);
      button.disabled = false;
    }
  }

  #draw() {
    const total = this.#totalSteps() ?? UNKNOWN_STEPS;
    const schedule = resolved(this.settings.drawnSchedule(), total);
    this.curve.x.max = total;
    if (total === 0) {
      this.curve.draw([]);
      return;
    }
    const guide = Array.from({ length: GUIDE_POINTS + 1 }, (_, place) => {
      const step = (place / GUIDE_POINTS) * total;
      return [step, sparsityAt(schedule, step)];
    });
    this.curve.draw([
      { name: "masks", kind: "stairs", points: corners(schedule, total) },
      { name: "schedule", kind: "guide", points: schedule.kind === "polynomial_decay" ? guide : [] },
    ]);
  }

  #totalSteps() {
    if (this.model.record !== null && this.data.record === null) return 0;
    const samples = this.#plan?.train_samples ?? this.data.record?.train_samples ?? null;
    return this.settings.totalSteps(samples);
  }

  #stepWords(step, { exact = false } = {}) {
    const total = this.#totalSteps();
    if (total === null) return `${percent(step / UNKNOWN_STEPS)}${exact ? " of the training" : ""}`;
    return exact ? `step ${count(step)}` : count(step);
  }

  #showForecast(problem = null) {
    const faults = problem instanceof Problem ? problem.errors : [];
    const ofData = faults.filter(({ pointer }) => pointer.startsWith("/data"));
    this.data.showFaults(ofData.map(({ message }) => message));
    const left = this.settings.showFaults(faults.filter((fault) => !ofData.includes(fault)));
    this.find(".forecast").classList.toggle("stale", problem !== null);
    this.find(".figures").replaceChildren(...(problem === null && this.#plan !== null ? figuresOf(this.#plan, this.model.record) : []));
    this.find(".notes").replaceChildren(...this.#notes(problem, faults, left));
    this.find("[type=submit]").disabled = problem !== null || this.#plan === null;
    this.find("#start-hint").textContent = this.#hint(problem, faults);
    if (problem === null) this.#draw();
    this.#showLayers(problem === null ? this.#plan : null);
    this.#showCall();
  }

  #notes(problem, faults, left) {
    if (problem === null) return (this.#plan?.warnings ?? []).map(warningNotice);
    if (faults.length === 0) return [problemNotice(problem)];
    return left.map(({ pointer, message }) => problemNotice({ title: pointer || "The settings", detail: message }));
  }

  #hint(problem, faults) {
    if (this.model.record === null) return "Add a model first.";
    if (faults.length > 0) {
      announce(faults.map(({ message }) => message).join(" "));
      return "The settings cannot be carried out yet; the reason stands where it applies.";
    }
    if (problem !== null) return "";
    return this.data.record === null ? "Add data too, and the model is fine-tuned while it is pruned." : "";
  }

  #showLayers(plan) {
    const section = this.find(".layers");
    section.hidden = this.model.record === null;
    if (section.hidden) return;
    const focused = document.activeElement?.dataset?.layer;
    const weights = this.model.record.weights;
    const first = new Set();
    const rows = weights.map((weight, place) => {
      const planned = plan?.layers[place] ?? { name: weight.layer, sparsity: undefined, pruned: weight.prunable, reason: weight.reason };
      const isFirst = weight.prunable && !first.has(weight.layer);
      if (isFirst) first.add(weight.layer);
      return { ...planned, weight: weight.weight, shape: weight.shape, control: weight.prunable ? (isFirst ? this.#switch(weight.layer) : element("span", { class: "switch" })) : null };
    });
    const prunable = weights.filter((weight) => weight.prunable).length;
    this.find(".layers .table").replaceChildren(
      element("p", { class: "detail" }, `${prunable} of ${counted(weights.length, "tensor")} can be pruned. Leave a layer dense by taking its tick away.`),
      layerList(rows, { isMain: (_, place) => weights[place].prunable }),
    );
    if (focused !== undefined) this.find(`[data-layer="${CSS.escape(focused)}"]`)?.focus();
  }

  #switch(layer) {
    const box = element("input", {
      type: "checkbox",
      "data-layer": layer,
      "aria-label": `Prune ${layer}`,
      onchange: () => {
        this.settings.skip(layer, !box.checked);
        this.#changed();
      },
    });
    box.checked = !this.settings.isSkipped(layer);
    return element("label", { class: "switch" }, box);
  }

  #showCall() {
    const details = this.find(".call");
    details.hidden = this.model.record === null;
    if (details.hidden) return;
    const key = hasKey() ? ` -H "Authorization: Bearer $ESPALIER_API_KEY"` : "";
    const body = JSON.stringify(this.#body()).replaceAll("'", "'\\''");
    const command = `curl${key} -H 'Content-Type: application/json' -d '${body}' ${location.origin}/v1/jobs`;
    details.querySelector(".code").replaceChildren(codeBlock(command, { name: "The call as a curl command" }));
  }
}

function figuresOf(plan, model) {
  const zeros = plan.parameters.total - plan.parameters.nonzero;
  const [first, ...others] = plan.artifacts;
  return [
    figureItem("Training", plan.total_steps === 0 ? "none" : counted(plan.total_steps, "step"), trainingWords(plan)),
    figureItem(plan.is_exact ? "Zeros" : "Zeros, about", percent(plan.sparsity), `${count(zeros)} of ${count(plan.parameters.prunable)} prunable weights`),
    figureItem("Download, about", bytes(first.bytes), `${first.name}, from ${bytes(model.weight_bytes)} of weights`),
    ...others.map((artifact) => figureItem(artifact.name, bytes(artifact.bytes), artifact.format)),
  ];
}

function trainingWords({ total_steps, steps_per_epoch, held_out, train_samples }) {
  if (total_steps === 0) return "pruned in one go";
  const epochs = `${counted(total_steps / steps_per_epoch, "epoch")} over ${counted(train_samples, "sample")}`;
  return held_out === null ? epochs : `${epochs}; measured on ${count(held_out.samples)} (${held_out.split})`;
}
