// Keeps a page up to date: fetches it again every few seconds and puts the parts marked data-live in place of the old ones.
// The page is whole without this script. What it adds, it adds to what the server has drawn.

const EVERY = 5000; // milliseconds
const GIVE_UP = 15000;
const MANY = 8; // services from which a filter is worth its room

let updated = document.querySelector("#freshness time")?.textContent;
let failing = false;
let timer;

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

function headline(root) {
  const element = root.querySelector("[data-headline]");
  return element ? element.dataset.headline || element.textContent : "";
}

function reading() {
  // Somebody selects text to copy it, or holds a link: not the moment to replace it.
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode));
}

async function load() {
  const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP) });
  if (response.redirected) throw new Error("you are logged out. Reload the page to log in.");
  if (response.status === 404) throw new Error("this page is gone. Go back to all services.");
  if (!response.ok) throw new Error(`the monitor answers with status ${response.status}. Trying again.`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function show(fresh) {
  const before = headline(document);
  const focused = document.activeElement?.closest("[data-live] a")?.getAttribute("href");
  for (const old of document.querySelectorAll("[data-live]")) {
    const replacement = fresh.getElementById(old.id);
    if (replacement) old.replaceWith(document.adoptNode(replacement));
  }
  document.title = fresh.title;
  updated = document.querySelector("#freshness time").textContent;
  if (focused) document.querySelector(`[data-live] a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  filter();
  const after = headline(document);
  if (after !== before || failing) announce(after);
  failing = false;
}

function fail(error) {
  const why = error instanceof TypeError || error.name === "TimeoutError" ? "the monitor does not answer. Trying again." : error.message;
  const text = `Not updated since ${updated}: ${why}`;
  const line = document.getElementById("freshness");
  line.classList.add("stale");
  if (line.textContent !== text) line.textContent = text;
  if (!failing) announce(text);
  failing = true;
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return; // goes on when the tab is seen again
  const started = performance.now();
  try {
    if (!reading()) show(await load());
  } catch (error) {
    fail(error);
  }
  // A page that takes long to make is asked for less often.
  timer = setTimeout(refresh, Math.max(EVERY, 10 * (performance.now() - started)));
}

function filter() {
  const form = document.getElementById("filter");
  if (!form) return;
  const rows = [...document.querySelectorAll("[data-filter]")];
  const text = document.getElementById("filter-text").value.trim().toLowerCase();
  form.hidden = rows.length <= MANY && !text;
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.dataset.filter.toLowerCase().includes(text);
    if (!row.hidden) shown += 1;
  }
  const said = text ? `${shown} of ${rows.length}` : "";
  const output = document.getElementById("filter-count");
  if (output.textContent !== said) output.textContent = said;
  sessionStorage.setItem("monitoring-filter", text); // sorting and the window are links to another page
}

const box = document.getElementById("filter-text");
if (box) {
  box.value = sessionStorage.getItem("monitoring-filter") || "";
  box.addEventListener("input", filter);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
document.addEventListener("visibilitychange", refresh);
timer = setTimeout(refresh, EVERY);
