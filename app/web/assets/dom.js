/** Making elements. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an HTML element: `element("a", { href: "/jobs" }, "Jobs")`.
 *
 * An attribute that is null, undefined or false is left out; true stands without a value; a
 * function is a listener for the event that its name says after "on". Children that are null,
 * undefined or false are left out, and texts are never read as HTML.
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element, likewise. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Set the custom property of a share, which the style sheet makes a length of. */
export function withShare(node, share) {
  node.style.setProperty("--share", String(Math.min(Math.max(share, 0), 1)));
  return node;
}

/** Say something to those who listen rather than look. */
export function announce(words) {
  document.getElementById("announcer").textContent = words;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
