/** What a job's webhook was told, and what became of it. */

import { get } from "/assets/api.js";
import { element } from "/assets/dom.js";
import { at, counted } from "/assets/format.js";

const STATUS = { pending: "on its way", delivered: "delivered", given_up: "given up" };
const LOOK_AGAIN = 5000;

export class DeliveryLog {
  #timer = null;

  /** `section` is where it is shown; `path` is where the service has it. */
  constructor(section, path, signal) {
    this.section = section;
    this.path = path;
    this.signal = signal;
    section.hidden = true;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  /** Show what is known of `webhook`, null where the job has none; look again until it is told. */
  async show(webhook, { hasEnded }) {
    this.section.hidden = webhook === null;
    if (webhook === null) return;
    if (!hasEnded) {
      this.#draw(element("p", { class: "detail" }, `${webhook.url} is told when the job has ended.`));
      return;
    }
    clearTimeout(this.#timer);
    const deliveries = await get(this.path, { signal: this.signal }).catch(() => null);
    if (deliveries !== null) this.#draw(element("ul", {}, deliveries.map(deliveryItem)));
    const isOpen = deliveries === null || deliveries.some(({ status }) => status === "pending");
    if (isOpen && !this.signal.aborted) this.#timer = setTimeout(() => this.show(webhook, { hasEnded }), LOOK_AGAIN);
  }

  #draw(content) {
    this.section.replaceChildren(element("h2", {}, "Webhook"), element("div", { class: "card" }, content));
  }
}

function deliveryItem({ url, type, status, attempts, next_attempt_at }) {
  const next = next_attempt_at === null ? null : `tried again ${at(next_attempt_at)}`;
  const facts = [STATUS[status], counted(attempts.length, "attempt"), attempts.length > 0 ? next : null];
  return element(
    "li",
    {},
    element("div", {}, element("span", { class: "name" }, type), " to ", element("code", {}, url)),
    element("p", { class: "detail" }, facts.filter((fact) => fact !== null).join(" · ")),
    element("ul", { class: "detail" }, attempts.map(attemptItem)),
  );
}

function attemptItem({ at: time, status, error }) {
  return element("li", {}, `${at(time)}: ${status === null ? error : `answered with ${status}`}`);
}
