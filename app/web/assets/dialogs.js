/** Questions that must be answered before anything goes on. */

import { element } from "/assets/dom.js";

/** Ask before something that cannot be taken back; answers whether it may be done. */
export function confirmed({ title, text, action }) {
  return asked({
    title,
    body: element("p", {}, text),
    action,
    isDanger: true,
    answer: () => true,
    otherwise: false,
  });
}

/** Ask for an API key; answers with it, or null when the user has none to give. */
export function askForKey({ wasRefused }) {
  const field = element("input", { type: "password", id: "api-key", autocomplete: "off", required: true });
  const body = element(
    "div",
    { class: "field" },
    element("p", {}, wasRefused ? "That key was not accepted. " : "", "This service asks who you are. The key is kept until you close this tab."),
    element("label", { for: "api-key" }, "API key"),
    field,
  );
  return asked({ title: "API key", body, action: "Continue", isDanger: false, answer: () => field.value.trim() || null, otherwise: null });
}

function asked({ title, body, action, isDanger, answer, otherwise }) {
  return new Promise((resolve) => {
    let result = otherwise;
    const dialog = element(
      "dialog",
      { "aria-labelledby": "dialog-title", onclose: () => resolve(closed(dialog, result)) },
      element(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            result = answer();
            dialog.close();
          },
        },
        element("h2", { id: "dialog-title" }, title),
        body,
        element(
          "div",
          { class: "buttons" },
          element("button", { type: "button", class: "secondary", onclick: () => dialog.close() }, isDanger ? "Keep it" : "Not now"),
          element("button", { type: "submit", class: isDanger ? "danger" : "primary" }, action),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

function closed(dialog, result) {
  dialog.remove();
  return result;
}
