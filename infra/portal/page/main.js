// Routes, the list of sections, and what is asked of the server again and again.

const SECTIONS = [
  [
    "",
    [
      ["", "Overview", null],
      ["findings", "Findings", () => findings().filter((one) => one.level !== "note").length, true],
      ["graph", "The whole picture", null],
    ],
  ],
  [
    "What flows",
    [
      ["topics", "Topics", () => catalogue.topics.length],
      ["events", "Event types", () => eventTypes().length],
      [
        "dead-letters",
        "Dead letters",
        () => (seen().dead_letters ? lettersSaid() : ""),
      ],
    ],
  ],
  [
    "What is made of it",
    [
      ["tables", "Tables", () => catalogue.tables.length],
      ["features", "Features", () => catalogue.views.reduce((sum, view) => sum + view.features.length, 0)],
      ["models", "Models", () => catalogue.models.length],
    ],
  ],
  [
    "Who does it",
    [
      ["programs", "Readers and writers", () => catalogue.programs.length],
      ["groups", "Consumer groups", () => (seen().groups ? seen().groups.length : "")],
    ],
  ],
];
const SECTION_OF = {
  domain: "topics",
  topic: "topics",
  event: "events",
  table: "tables",
  read_model: "tables",
  feature_view: "features",
  feature: "features",
  feature_service: "features",
  model: "models",
  group: "groups",
};

function route() {
  const [, first = "", ...rest] = location.hash.replace(/^#/, "").split("/");
  const words = rest.map((one) => {
    try {
      return decodeURIComponent(one);
    } catch {
      return one;
    }
  });
  return { first, words };
}

function showNav() {
  const { first } = route(),
    current = SECTION_OF[first] || (PROGRAMS.includes(first) ? "programs" : first);
  document.getElementById("nav").replaceChildren(
    ...SECTIONS.flatMap(([title, list]) => [
      title ? el("h2", {}, title) : "",
      ...list.map(([to, text, count, alarming]) =>
        follow(() => {
          const counts = count ? count() : null;
          return el(
            "a",
            { href: `#/${to}`, class: alarming && counts ? "alarm" : null, "aria-current": to === current ? "page" : null },
            el("span", {}, text),
            " ",
            el("span", {}, counts === null || (alarming && !counts) ? "" : counts),
          );
        }, "div"),
      ),
    ]),
  );
}

function show(moved) {
  forget();
  const { first, words } = route(),
    main = document.getElementById("main");
  const made =
    first in pages && !words.length
      ? pages[first]()
      : first in things && words[0]
        ? things[first](...words)
        : unknown("page", location.hash);
  showNav();
  main.replaceChildren(...made.flat(Infinity).filter((one) => one instanceof Node));
  if (!moved) return;
  openMenu(false);
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

let failed = null; // since when the server has not answered
function showState() {
  const state = document.getElementById("state"),
    silent = live ? Object.keys(seen().silent) : [];
  let dot = "well",
    text = "all answered";
  if (failed !== null)
    [dot, text] = ["away", `the portal's server does not answer; this is of ${live ? moment(seen().at_ms) : "its start"}`];
  else if (!live) [dot, text] = ["", polls ? "looking …" : "what is declared"];
  else if (!polls) [dot, text] = [silent.length ? "partly" : "well", `as of ${moment(seen().at_ms)}`];
  else if (silent.length) [dot, text] = ["partly", `no answer: ${silent.join(", ")}`];
  const at = live && polls && failed === null ? `looked at ${moment(seen().at_ms).slice(11, 19)}` : null;
  const said = `${dot}${text}`;
  if (state.dataset.said !== said) {
    state.dataset.said = said;
    state.replaceChildren(
      el("span", { class: `dot ${dot}`, "aria-hidden": "true" }),
      el("span", {}, text, el("span", { class: "at", "aria-hidden": "true" })),
    );
  }
  state.querySelector(".at").textContent = at ? ` · ${at}` : "";
}

async function poll() {
  try {
    const answer = await fetch("live.json", { cache: "no-store", signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    // another catalogue is declared now: the page is made anew around the same address, but not under the hands of who types
    if (told.version !== version && !document.getElementById("search").value) return location.reload();
    const first = !live;
    live = told;
    heard = live.seen.at_ms;
    heardAt = Date.now();
    failed = null;
    if (first) show(false);
    else following.forEach(redraw);
  } catch {
    if (failed === null) failed = Date.now();
  }
  showState();
  setTimeout(poll, document.hidden ? 15000 : 3000);
}

const menu = document.getElementById("menu");
function openMenu(open) {
  menu.setAttribute("aria-expanded", String(open));
  document.getElementById("nav").classList.toggle("open", open);
}
menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu.getAttribute("aria-expanded") === "true") {
    openMenu(false);
    menu.focus();
  }
});
window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#/") || location.hash === "") show(true);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
startSearch();
show(false);
showState();
if (polls) poll();
