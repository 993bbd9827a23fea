// What the pages of things are built of: what is around one, and what a change of it would hit.

function picturePanel(id) {
  const at = nodeOf.has(id) ? whole(id) : null;
  if (!at || !((ahead.get(at) || []).length + (behind.get(at) || []).length)) return null;
  return el(
    "section",
    { class: "panel" },
    el("header", {}, el("h2", {}, "Around it"), el("p", {}, "from what it comes, and what follows")),
    drawing(neighbourhood(at), `What ${at.slice(at.indexOf(":") + 1)} comes from and what follows from it`, at),
  );
}

/** All that a change would reach, by kind; the way to each is said by its last step. */
function hitsPanel(id) {
  if (!nodeOf.has(id)) return null;
  const box = el("div", {});
  const wide = el("input", { type: "checkbox", id: "wide", onchange: () => draw() });
  const draw = () => {
    const { reached } = hits(id, wide.checked);
    const kinds = new Map();
    for (const hit of reached) put(kinds, nodeOf.get(hit.id).kind, hit);
    box.replaceChildren(
      reached.length
        ? el(
            "div",
            { class: "groups" },
            [...kinds]
              .sort(([a], [b]) => order(a) - order(b))
              .map(([kind, all]) => {
                const body = el(
                  "ul",
                  { class: "hits" },
                  all.slice(0, 400).map((hit) => {
                    const { title, note, page } = called(hit.id),
                      last = called(hit.edge.from);
                    const how =
                      { holds: "part of", reads: "reads", "made from": "made from", writes: "written by", has: "belongs to" }[
                        hit.edge.how
                      ] || hit.edge.how;
                    return el(
                      "li",
                      {},
                      el("a", { href: href(page) }, title),
                      note ? el("span", { class: "soft" }, ` ${note}`) : null,
                      el("small", {}, `${how} ${last.title}${hit.steps > 1 ? `, ${hit.steps} steps away` : ""}`),
                    );
                  }),
                  all.length > 400 ? el("li", {}, `and ${number(all.length - 400)} more`) : null,
                );
                return el(
                  "details",
                  { open: all.length <= 8 && innerWidth > 700 },
                  el("summary", {}, badge(kind), ` ${number(all.length)}`),
                  body,
                );
              }),
          )
        : el("p", { class: "soft" }, "Nothing that is known here."),
    );
    count.textContent = plural(reached.length, "thing");
  };
  const count = el("b", {});
  draw();
  return panel(
    "What would a change hit?",
    null,
    el(
      "p",
      {},
      count,
      ", directly and through what is made of it. ",
      el("label", { for: "wide" }, wide, " also through what services say because of it, and every part of what is hit"),
    ),
    box,
  );
}

const ORDER = [
  "topic",
  "event",
  "version",
  "field",
  "job",
  "service",
  "group",
  "command",
  "party",
  "table",
  "read_model",
  "column",
  "feature_view",
  "feature",
  "feature_service",
  "model",
  "endpoint",
];
const order = (kind) => (ORDER.indexOf(kind) + ORDER.length + 1) % (ORDER.length + 1);

function featuresTable(view) {
  return grid(
    [
      ["Feature", (one) => el("a", { href: href(`feature:${one.id}`) }, el("code", {}, one.name))],
      ["Type", (one) => one.type],
      ["Unit", (one) => one.unit, null, true],
      ["What it says", (one) => one.description],
    ],
    view.features,
  );
}

function examplesBlock(list) {
  if (!list.length) return el("p", { class: "soft" }, "None.");
  return list.map((one, i) =>
    el(
      "details",
      { open: i === 0 },
      el("summary", {}, one.name.replace(/-/g, " "), " ", el("span", { class: "soft" }, `${one.event_type} ${one.version}`)),
      json(one.value),
    ),
  );
}

function unknown(kind, name) {
  return [
    head([["Overview", "#/"]], kind, name, "Nothing of this name is declared here, and nothing of it was seen."),
    el("p", {}, "Search for it with ", el("kbd", {}, "/"), "."),
  ];
}
