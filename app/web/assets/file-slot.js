/** The place of one uploaded file: drop, send, see what is in it, take it away again. */

import { get, remove, upload } from "/assets/api.js";
import { element, withShare } from "/assets/dom.js";
import { bytes, counted, shape } from "/assets/format.js";
import { problemNotice } from "/assets/parts.js";

const KINDS = {
  model: {
    title: "Model",
    wanted: [element("code", {}, ".keras"), " or ", element("code", {}, ".h5")],
    note: "As Keras saved it, with or without its optimizer.",
    path: "/v1/models",
    accept: ".keras,.h5,.hdf5",
    facts: modelFacts,
  },
  data: {
    title: "Data",
    wanted: [element("code", {}, ".npz"), ", ", element("code", {}, ".csv"), ", ", element("code", {}, ".zip"), " or ", element("code", {}, ".tfrecord")],
    note: "Optional: arrays, a table, a folder for each class, records. Without data, the model is pruned in one go and not fine-tuned.",
    path: "/v1/datasets",
    accept: ".npz,.csv,.zip,.tfrecord,.tfrecords",
    facts: dataFacts,
  },
};

export class FileSlot {
  #kind;
  #transfer = null;

  /** `kind` is `model` or `data`; `onChange` is called whenever `record` became another one. */
  constructor({ kind, node, signal, onChange }) {
    this.#kind = KINDS[kind];
    this.part = kind;
    this.node = node;
    this.onChange = onChange;
    this.record = null; //: What the service says of the file; null while there is none.
    this.isSentHere = false; //: Sent for the job that is being made, not found on the service.
    signal.addEventListener("abort", () => this.#transfer?.abort());
    this.#showEmpty();
  }

  /** Send `file`, and show what the service found in it, or why it was refused. */
  async take(file) {
    this.#transfer?.abort();
    this.#forget();
    const transfer = new AbortController();
    this.#transfer = transfer;
    const bar = element("div", { class: "bar", role: "progressbar", "aria-label": `Sending ${file.name}` }, element("span", { class: "reached" }));
    const detail = element("p", { class: "detail" }, `Sending ${bytes(file.size)} …`);
    this.#show(element("p", { class: "filename" }, file.name), bar, detail, this.#button("Stop", () => this.clear()));
    try {
      const record = await upload(this.#kind.path, this.part, file, {
        signal: transfer.signal,
        onProgress: (share) => {
          withShare(bar, share);
          bar.setAttribute("aria-valuenow", Math.round(share * 100));
          if (share === 1) detail.textContent = "Looking at what is in it …";
        },
      });
      this.isSentHere = true;
      this.show(record);
    } catch (problem) {
      if (problem.name !== "AbortError") this.#showEmpty(problem, file.name);
    }
  }

  /** Show the file that the service has under `id`. */
  async load(id) {
    this.show(await get(`${this.#kind.path}/${id}`));
  }

  /** Show a file that the service has. */
  show(record) {
    this.#transfer = null;
    this.record = record;
    this.#show(
      element("p", { class: "filename" }, record.filename),
      element("p", { class: "detail" }, this.#kind.facts(record)),
      this.#button("Remove", () => this.clear()),
    );
    this.onChange();
  }

  /** Say what the preflight has against this file; no messages, no fault. */
  showFaults(messages) {
    this.node.querySelector(".fault")?.remove();
    this.node.classList.toggle("refused", messages.length > 0);
    if (messages.length > 0) this.node.append(element("p", { class: "fault", role: "alert" }, messages.join(" ")));
  }

  /** Take the file away, here and, unless a job needs it, from the service. */
  clear() {
    this.#transfer?.abort();
    this.#forget();
    this.#showEmpty();
  }

  #forget() {
    if (this.record === null) return;
    // A job may need it, and then the service keeps it: nothing that the user must hear.
    remove(`${this.#kind.path}/${this.record.id}`).catch(() => undefined);
    this.record = null;
    this.isSentHere = false;
    this.onChange();
  }

  #showEmpty(problem = null, filename = null) {
    const { title, wanted, note, accept } = this.#kind;
    const input = element("input", {
      type: "file",
      class: "visually-hidden",
      accept,
      "aria-label": `${title}: choose a file`,
      onchange: () => input.files.length > 0 && this.take(input.files[0]),
    });
    const label = element(
      "label",
      { class: "drop" },
      input,
      element("span", { class: "title" }, title),
      element("span", {}, "Drop ", wanted.map((node) => (typeof node === "string" ? node : node.cloneNode(true))), ", or ", element("span", { class: "link" }, "choose a file")),
      element("span", { class: "detail" }, note),
    );
    this.#transfer = null;
    this.node.classList.remove("filled", "refused");
    this.#replace(label);
    if (problem !== null) {
      this.node.classList.add("refused");
      const notice = problemNotice(problem);
      notice.prepend(element("p", { class: "filename" }, filename));
      this.node.append(notice);
    }
  }

  #show(...children) {
    this.node.classList.remove("refused");
    this.node.classList.add("filled");
    this.#replace(element("p", { class: "title" }, this.#kind.title), ...children);
  }

  /** Whoever is here with the keyboard stays here. */
  #replace(...children) {
    const hadFocus = this.node.contains(document.activeElement);
    this.node.replaceChildren(...children);
    if (hadFocus) this.node.querySelector("input, button").focus();
  }

  #button(words, onclick) {
    return element("button", { type: "button", class: "quiet small", onclick, "aria-label": `${words} the ${this.part}` }, words);
  }
}

function modelFacts({ class_name, parameters, weight_bytes, optimizer_bytes, layers }) {
  const size = optimizer_bytes > 0 ? `${bytes(weight_bytes)}, and ${bytes(optimizer_bytes)} of optimizer` : bytes(weight_bytes);
  return [class_name, counted(layers.length, "layer"), counted(parameters, "weight"), size].join(" · ");
}

function dataFacts({ train_samples, validation_samples, test_samples, arrays, columns, classes }) {
  const inputs = arrays.find(({ name }) => name.startsWith("x"));
  const parts = [counted(train_samples, "training sample")];
  if (validation_samples > 0) parts.push(`${counted(validation_samples, "sample")} to validate`);
  if (test_samples > 0) parts.push(`${counted(test_samples, "sample")} to test`);
  if (columns.length > 0) parts.push(counted(columns.length, "column"));
  if (classes.length > 0) parts.push(counted(classes.length, "folder"));
  if (inputs) parts.push(`${shape(inputs.shape.slice(1))}, ${inputs.dtype}`);
  return parts.join(" · ");
}
