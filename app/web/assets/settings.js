/** The form of a job's settings: what it says as a spec, and which of its fields a fault is about. */

import { element, withShare } from "/assets/dom.js";
import { resolved } from "/assets/schedule.js";

/** What each kind of schedule says in one sentence, and the fields that it alone has. */
const KINDS = {
  polynomial_decay: {
    help: "Sparsity rises fast at first, then ever more slowly; the rest of the training recovers the accuracy.",
    fields: ["initial", "end_step", "frequency", "power"],
    level: "final_sparsity",
  },
  iterative: {
    help: "Prune, fine-tune, prune again: each round removes the same share of what is left.",
    fields: ["initial", "end_step", "rounds"],
    level: "final_sparsity",
  },
  one_shot: {
    help: "One jump to the sparsity, then only fine-tuning.",
    fields: [],
    level: "target_sparsity",
  },
  constant: {
    help: "One level from the first update on, with the masks chosen anew as training goes on.",
    fields: ["end_step", "frequency"],
    level: "target_sparsity",
  },
};

const GRANULARITIES = {
  unstructured: { kind: "unstructured" },
  block: { kind: "block", block_size: [4, 1] },
  n_of_m: { kind: "n_of_m", zeros: 2, group: 4 },
  channel: { kind: "channel" },
};

const FORMATS = {
  keras: ".keras",
  keras_compact: ".keras without the filters",
  litert: "LiteRT",
  litert_fp16: "LiteRT, float16",
  litert_int8: "LiteRT, int8",
  litert_sparse: "LiteRT, sparse",
  saved_model: "SavedModel",
  onnx: "ONNX",
  weights: "masks and non-zeros",
  weights_int8: "masks and non-zeros, int8",
};

export class Settings {
  #carried = {};
  #dataKind = "npz";
  #skipped = new Set();

  /** `form` is the form of the page; `onChange` is called whenever it says something else. */
  constructor(form, { onChange }) {
    this.form = form;
    form.addEventListener("input", (event) => {
      this.#mirror(event.target);
      this.#showWhatApplies();
      onChange();
    });
    for (const name of ["sparsity", "initial"]) this.#showLevel(name);
    this.#showWhatApplies();
  }

  /** Offer a choice of files where the service can make more than one kind. */
  offer(formats) {
    const fieldset = this.form.querySelector(".formats");
    fieldset.hidden = formats.length < 2;
    fieldset.querySelector(".checks").replaceChildren(
      ...formats.map((name) =>
        element(
          "label",
          {},
          element("input", { type: "checkbox", name: "artifact", value: name, checked: this.#formats().includes(name) }),
          FORMATS[name] ?? name,
        ),
      ),
    );
    this.#showWhatApplies();
  }

  /** Say what kind of file the data are; null for none. Only a table and records have labels by a name. */
  reads(kind) {
    this.#dataKind = kind ?? "npz";
    this.form.elements.label.closest(".field").hidden = !["csv", "tfrecord"].includes(this.#dataKind);
  }

  /** Leave a layer dense, or prune it again. */
  skip(layer, isSkipped) {
    if (isSkipped) this.#skipped.add(layer);
    else this.#skipped.delete(layer);
  }

  isSkipped(layer) {
    return this.#skipped.has(layer);
  }

  /** Start from the settings of a job of `totalSteps`; what the form has no field for is kept. */
  fill(spec, totalSteps) {
    const skips = spec.layers.filter((rule) => rule.skip === true && !rule.type && rule.match === literal(plain(rule.match)));
    this.#skipped = new Set(skips.map((rule) => plain(rule.match)));
    this.#carried = { ...spec, layers: spec.layers.filter((rule) => !skips.includes(rule)) };
    const { schedule, granularity, allocation, training, preprocessing } = spec;
    const isOpen = (name) => resolved({ ...schedule, [name]: null }, totalSteps)[name] === schedule[name];
    this.#set("kind", schedule.kind);
    this.#setShare("sparsity", schedule.final_sparsity ?? schedule.target_sparsity ?? 0.8);
    this.#setShare("initial", schedule.initial_sparsity ?? 0);
    for (const name of ["begin_step", "power", "rounds"]) this.#set(name, schedule[name]);
    for (const name of ["end_step", "frequency"]) this.#set(name, isOpen(name) ? null : schedule[name]);
    this.#set("label", spec.data?.label);
    this.#set("granularity", granularity.kind);
    this.#set("allocation", allocation?.kind);
    this.#set("epochs", training.epochs);
    this.#set("batch_size", training.batch_size);
    this.#set("learning_rate", training.optimizer.learning_rate);
    this.#set("rescale", preprocessing.rescale);
    this.#set("webhook", spec.webhook?.url);
    this.form.elements.cool_down.checked = training.cool_down !== false;
    this.#showWhatApplies();
  }

  /** The settings as a spec; what was left empty is left to the service. */
  spec() {
    const { training: { cool_down, ...training } = {}, preprocessing = {} } = this.#carried;
    // Ticked, it is left to the service, which knows whether steps are left for it.
    const cooling = this.form.elements.cool_down.checked ? {} : { cool_down: false };
    const learningRate = this.#number("learning_rate");
    const optimizer = { ...(training.optimizer ?? { kind: "adam" }), ...present({ learning_rate: learningRate }) };
    const sized = { epochs: this.#number("epochs"), batch_size: this.#number("batch_size") };
    const spec = {
      ...this.#carried,
      schedule: this.schedule(),
      granularity: this.#chosen("granularity", GRANULARITIES[this.#value("granularity")]),
      allocation: this.#value("allocation") ? this.#chosen("allocation", { kind: this.#value("allocation") }) : undefined,
      layers: [...[...this.#skipped].map((layer) => ({ match: literal(layer), skip: true })), ...(this.#carried.layers ?? [])],
      training: { ...training, ...present(sized), ...cooling, ...(learningRate === null && !training.optimizer ? {} : { optimizer }) },
      preprocessing: { ...preprocessing, ...present({ rescale: this.#rescale() }) },
      data: this.#dataKind === "npz" ? undefined : { ...this.#carried.data, label: this.#value("label").trim() || undefined },
      artifacts: this.#formats(),
      webhook: this.#webhook(),
    };
    return withoutDefaults(spec);
  }

  /** The schedule alone. */
  schedule() {
    const kind = this.#value("kind");
    const { fields, level } = KINDS[kind];
    const optional = fields.filter((name) => name !== "initial").map((name) => [name, this.#number(name)]);
    return {
      kind,
      ...(fields.includes("initial") ? { initial_sparsity: this.#share("initial") } : {}),
      ...(this.#value("granularity") === "n_of_m" ? {} : { [level]: this.#share("sparsity") }),
      ...present({ begin_step: this.#number("begin_step"), ...Object.fromEntries(optional) }),
    };
  }

  /** The schedule with the level that its granularity leads to filled in, for drawing. */
  drawnSchedule() {
    const pattern = this.#chosen("granularity", GRANULARITIES[this.#value("granularity")]);
    const { level } = KINDS[this.#value("kind")];
    return pattern.kind === "n_of_m" ? { ...this.schedule(), [level]: pattern.zeros / pattern.group } : this.schedule();
  }

  /** Steps of the training on so many samples; null while nobody knows. */
  totalSteps(trainSamples) {
    if (trainSamples === null) return null;
    const batch = this.#number("batch_size") ?? 128;
    return (this.#number("epochs") ?? 2) * Math.ceil(trainSamples / batch);
  }

  /** Say each fault at the field that it is about; answers with those that no field is about. */
  showFaults(errors) {
    const left = new Set(errors);
    for (const field of this.form.querySelectorAll("[data-pointer]")) {
      const pointers = field.dataset.pointer.split(" ");
      const own = errors.filter(({ pointer }) => pointers.some((name) => pointer === name || pointer.startsWith(`${name}/`)));
      own.forEach((error) => left.delete(error));
      showFault(field, own.map(({ message }) => message).join(" "));
    }
    return [...left];
  }

  #showWhatApplies() {
    const { help, fields } = KINDS[this.#value("kind")];
    const isPattern = this.#value("granularity") === "n_of_m";
    this.form.querySelector("#kind-help").textContent = help;
    for (const field of this.form.querySelectorAll("[data-field]")) {
      const name = field.dataset.field;
      field.hidden = name === "sparsity" ? isPattern : !fields.includes(name);
    }
    this.#showWithoutFilters();
  }

  /** Offer the file without the filters that are zero where whole ones go, and ask for it unless told otherwise. */
  #showWithoutFilters() {
    const box = this.form.querySelector("[name=artifact][value=keras_compact]");
    if (box === null) return;
    const rules = this.#carried.layers ?? [];
    const applies = [this.#value("granularity"), ...rules.map((rule) => rule.granularity?.kind)].includes("channel");
    if (applies !== box.disabled) return;
    box.disabled = !applies;
    box.checked = applies;
    box.closest("label").hidden = !applies;
  }

  /** Keep a slider and the number beside it the same. */
  #mirror({ name, value }) {
    const other = name.endsWith("_exact") ? name.slice(0, -"_exact".length) : `${name}_exact`;
    const twin = this.form.elements[other];
    if (twin === undefined) return;
    twin.value = value;
    this.#showLevel(name.endsWith("_exact") ? other : name);
  }

  #showLevel(name) {
    const slider = this.form.elements[name];
    withShare(slider, slider.value / slider.max);
  }

  #setShare(name, share) {
    const value = Number((share * 100).toFixed(4));
    this.#set(name, value);
    this.#set(`${name}_exact`, value);
    this.#showLevel(name);
  }

  #set(name, value) {
    this.form.elements[name].value = value ?? "";
  }

  #value(name) {
    return this.form.elements[name].value;
  }

  /** What a field says; null when it is empty, so that the service's own default holds. */
  #number(name) {
    const value = this.#value(name).trim();
    return value === "" ? null : Number(value);
  }

  #share(name) {
    return Number((this.#number(`${name}_exact`) / 100).toFixed(6));
  }

  /** A number, or a fraction such as 1/255; anything else as it is, for the service to refuse. */
  #rescale() {
    const text = this.#value("rescale").trim();
    if (text === "") return null;
    const [over, under = "1", ...more] = text.split("/");
    const number = Number(over) / Number(under);
    return more.length === 0 && Number.isFinite(number) ? number : text;
  }

  #webhook() {
    const url = this.#value("webhook").trim();
    return url === "" ? undefined : { url };
  }

  /** What was chosen; where it is what the settings were filled with, with all its details. */
  #chosen(name, choice) {
    return this.#carried[name]?.kind === choice.kind ? this.#carried[name] : choice;
  }

  #formats() {
    const boxes = [...this.form.querySelectorAll("[name=artifact]")];
    if (boxes.length === 0) return this.#carried.artifacts ?? ["keras"];
    return boxes.filter((box) => box.checked).map((box) => box.value);
  }
}

/** The glob that matches a layer's path and nothing else. */
function literal(path) {
  return path.replace(/[[*?]/g, "[$&]");
}

function plain(glob) {
  return glob.replace(/\[([[*?])\]/g, "$1");
}

function present(record) {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null && !Number.isNaN(value)));
}

/** Without what the service takes anyway, so that what is left is what was chosen. */
function withoutDefaults(spec) {
  const dull = {
    granularity: { kind: "unstructured" },
    layers: [],
    training: {},
    preprocessing: {},
    data: {},
    artifacts: ["keras"],
  };
  return Object.fromEntries(
    Object.entries(spec).filter(([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(dull[name])),
  );
}

function showFault(field, message) {
  field.querySelector(":scope > .fault")?.remove();
  const controls = field.querySelectorAll("input, select");
  const id = `fault${field.dataset.pointer.split(" ")[0].replaceAll("/", "-")}`;
  for (const control of controls) describe(control, id, message !== "");
  if (message === "") return;
  field.append(element("p", { class: "fault", id }, message));
  field.closest("details")?.setAttribute("open", "");
}

function describe(control, id, isFaulty) {
  const others = (control.getAttribute("aria-describedby") ?? "").split(" ").filter((name) => name && name !== id);
  const ids = isFaulty ? [...others, id] : others;
  if (ids.length > 0) control.setAttribute("aria-describedby", ids.join(" "));
  else control.removeAttribute("aria-describedby");
  if (isFaulty) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}
