// Full-text search over everything that is declared and everything that was seen.

const LARGE = ["topic", "event", "feature_view", "model", "table", "read_model", "job", "service", "command", "party", "group", "domain"];

function entries() {
  const made = [];
  const add = (id, title, note, text, target = href(id)) =>
    made.push({
      id,
      kind: id.split(":")[0],
      title,
      note,
      target,
      low: title.toLowerCase(),
      text: `${title} ${note} ${text}`.toLowerCase(),
    });
  for (const domain of domains) add(`domain:${domain}`, domain, "domain", "");
  for (const topic of catalogue.topics) {
    add(
      `topic:${topic.name}`,
      topic.name,
      topic.description,
      `${topic.owner} ${topic.domain} ${topic.key} ${topic.producers} ${topic.consumers} ${topic.table || ""}`,
    );
    for (const type of new Set(topic.versions.map((one) => one.event_type))) {
      const versions = topic.versions.filter((one) => one.event_type === type);
      const id = `event:${topic.name}/${type}`;
      const dying = versions.some((one) => one.deprecated) ? "deprecated" : "";
      add(id, type, `on ${topic.name}: ${versions.at(-1).description}`, `${topic.owner} ${dying}`);
      for (const field of new Map(
        versions
          .flatMap((one) => one.fields)
          .filter((one) => one.path.startsWith("data."))
          .map((one) => [one.path, one]),
      ).values()) {
        add(
          `field:${topic.name}/${type}/${field.path}`,
          field.path.slice(5),
          `field of ${type} on ${topic.name}: ${field.description}`,
          `${field.unit} ${field.type}`,
          href(id),
        );
      }
    }
  }
  for (const table of catalogue.tables) {
    const id = tableId(table.name);
    add(id, table.name, table.description, table.owner);
    for (const column of table.columns)
      add(
        `column:${table.name}.${column.name}`,
        column.name,
        `column of ${table.name}: ${column.description}`,
        `${column.unit} ${column.type}`,
        href(id),
      );
  }
  for (const view of catalogue.views) {
    add(`feature_view:${view.name}`, view.name, view.description, `${view.owner} ${view.services}`);
    for (const feature of view.features)
      add(`feature:${feature.id}`, feature.name, `feature of ${view.name}: ${feature.description}`, feature.unit);
  }
  for (const model of catalogue.models)
    add(`model:${model.id}`, model.id, model.description, `${model.owner} ${model.label} ${model.meaning}`);
  for (const program of catalogue.programs)
    add(programId(program.name), program.name, program.description || word(program.kind), program.file);
  for (const group of seen().groups || []) add(`group:${group.name}`, group.name, `consumer group, ${group.state}`, "");
  for (const topic of seen().topics || [])
    if (!topics.has(topic.name)) add(`topic:${topic.name}`, topic.name, "a topic that no contract names", "undeclared");
  return made;
}

/** The best first: a title that is the words, begins with them, holds them; then what else holds every word. */
function search(words, known = entries()) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return [];
  const whole = wanted.join(" ");
  const ranked = [];
  for (const entry of known) {
    if (!wanted.every((one) => entry.text.includes(one))) continue;
    const place = entry.low === whole ? 0 : entry.low.startsWith(whole) ? 1 : wanted.every((one) => entry.low.includes(one)) ? 2 : 3;
    const size = LARGE.indexOf(entry.kind);
    ranked.push([place * 100 + (size < 0 ? LARGE.length : size), entry]);
  }
  return ranked.sort((a, b) => a[0] - b[0] || a[1].low.localeCompare(b[1].low)).map(([, entry]) => entry);
}

function marked(text, words) {
  const low = text.toLowerCase(),
    parts = [];
  let at = 0;
  for (;;) {
    const places = words
      .map((one) => [low.indexOf(one, at), one.length])
      .filter(([place]) => place >= 0)
      .sort((a, b) => a[0] - b[0]);
    if (!places.length || low.length !== text.length) return [...parts, text.slice(at)];
    const [place, length] = places[0];
    parts.push(text.slice(at, place), el("mark", {}, text.slice(place, place + length)));
    at = place + length;
  }
}

function startSearch() {
  const input = document.getElementById("search"),
    box = document.getElementById("results");
  const MOST = 40;
  let shown = [],
    at = -1,
    known = null;
  const close = () => {
    box.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (place) => {
    at = place;
    [...box.querySelectorAll("[role=option]")].forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
    const chosen = document.getElementById(`result-${at}`);
    if (!chosen) return;
    input.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  };
  const open = (entry) => {
    close();
    input.value = "";
    input.blur();
    location.hash = entry.target;
    document.getElementById("main").focus();
  };
  const draw = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return close();
    known = known || entries();
    const all = search(input.value, known);
    shown = all.slice(0, MOST);
    box.replaceChildren(
      ...shown.map((entry, place) =>
        el(
          "div",
          {
            class: "result",
            role: "option",
            id: `result-${place}`,
            "aria-selected": "false",
            onmousedown: (event) => {
              event.preventDefault();
              open(entry);
            },
          },
          el("b", {}, marked(entry.title, words)),
          " ",
          badge(entry.kind),
          el("small", {}, marked(entry.note, words)),
        ),
      ),
      all.length
        ? all.length > MOST
          ? el("p", { class: "nothing" }, `and ${number(all.length - MOST)} more; add a word`)
          : ""
        : el("p", { class: "nothing" }, "Nothing here has all of these words."),
    );
    box.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(shown.length ? 0 : -1);
  };
  input.addEventListener("input", draw);
  input.addEventListener("focus", () => {
    known = null;
    draw();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (box.hidden) return draw();
      if (shown.length) choose((at + (event.key === "ArrowDown" ? 1 : shown.length - 1)) % shown.length);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      open(shown[at]);
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (box.hidden) {
        input.value = "";
        input.blur();
      } else close();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement ? document.activeElement.tagName : "");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}
