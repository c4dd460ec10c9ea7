/** The frame around the views: which path shows which, and the question for an API key. */

import { onKeyNeeded } from "/assets/api.js";
import { askForKey } from "/assets/dialogs.js";
import { showJob } from "/assets/job.js";
import { showJobs } from "/assets/jobs.js";
import { showNewJob } from "/assets/new-job.js";

/** Each view is called with where it goes, what its path named, and a signal for its end. */
const ROUTES = [
  { name: "new", pattern: /^\/$/, show: showNewJob },
  { name: "jobs", pattern: /^\/jobs\/?$/, show: showJobs },
  { name: "job", pattern: /^\/jobs\/([^/]+)$/, show: showJob },
];

const main = document.getElementById("main");
let shown = new AbortController();

/** Go to a path of the page, as a link does. */
function navigate(path) {
  history.pushState(null, "", path);
  show({ focuses: true });
}

function show({ focuses }) {
  shown.abort();
  shown = new AbortController();
  const { name, pattern, show: view } = ROUTES.find((route) => route.pattern.test(location.pathname));
  for (const link of document.querySelectorAll("[data-route]")) {
    if (link.dataset.route === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.getElementById("connection").hidden = true;
  main.replaceChildren();
  const [, id] = location.pathname.match(pattern);
  view({ main, id, signal: shown.signal, navigate });
  window.scrollTo(0, 0);
  if (focuses) main.focus({ preventScroll: true });
}

function onClick(event) {
  const link = event.target.closest("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || link.origin !== location.origin || link.hasAttribute("download")) return;
  if (link.hash || !ROUTES.some(({ pattern }) => pattern.test(link.pathname))) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}

onKeyNeeded(askForKey);
document.addEventListener("click", onClick);
window.addEventListener("popstate", () => show({ focuses: true }));
show({ focuses: false });
