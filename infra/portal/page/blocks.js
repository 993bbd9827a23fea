// What several pages are built of.

const badge = (kind) => el("span", { class: `badge k-${kind}` }, word(kind));
const mark = (level, text) => el("span", { class: `badge l-${level}` }, text);
const link = (id, text) => el("a", { href: href(id) }, text || id.slice(id.indexOf(":") + 1));
const topicLink = (name) => link(`topic:${name}`, name);

/** How a node of the graph is called on a page: a field by its path, with the event that holds it. */
function called(id) {
  const kind = id.slice(0, id.indexOf(":")),
    name = id.slice(id.indexOf(":") + 1);
  const parts = name.split("/");
  if (kind === "field")
    return { title: parts.slice(3).join("/"), note: `${parts[1]} ${parts[2]} on ${parts[0]}`, page: `event:${parts[0]}/${parts[1]}` };
  if (kind === "version") return { title: `${parts[1]} ${parts[2]}`, note: `on ${parts[0]}`, page: `event:${parts[0]}/${parts[1]}` };
  if (kind === "event") return { title: parts.slice(1).join("/"), note: `on ${parts[0]}`, page: id };
  if (kind === "column")
    return {
      title: name.slice(name.indexOf(".") + 1),
      note: `of ${name.slice(0, name.indexOf("."))}`,
      page: tableId(name.slice(0, name.indexOf("."))),
    };
  return { title: name, note: "", page: id };
}

function panel(title, note, ...body) {
  return el(
    "section",
    { class: "panel" },
    el("header", {}, el("h2", {}, title), note ? el("p", {}, note) : null),
    el("div", { class: "body" }, body),
  );
}

function head(crumbs, kind, title, description, ...marks) {
  document.title = `${title} – Streamhouse events`;
  return el(
    "div",
    { class: "head" },
    el(
      "p",
      { class: "crumbs" },
      crumbs.map(([text, to]) => [el("a", { href: to }, text), el("span", { "aria-hidden": "true" }, "/")]),
      el("span", {}, word(kind)),
    ),
    el(
      "h1",
      {},
      title,
      " ",
      badge(kind),
      marks.map((one) => [" ", one]),
    ),
    description ? el("p", { class: "lead" }, description) : null,
  );
}

function section(title, description) {
  document.title = `${title} – Streamhouse events`;
  return el("div", { class: "head" }, el("h1", {}, title), el("p", { class: "lead" }, description));
}

function facts(pairs) {
  return el(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** A table that becomes a list of blocks on a phone. `columns`: [title, cell, class, whether its title stands before it there]. */
function grid(columns, rows, rowClass = () => null) {
  return el(
    "table",
    { class: "stack" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        columns.map(([title, , style]) => el("th", { scope: "col", class: style || null }, title)),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map((row) =>
        el(
          "tr",
          { class: rowClass(row) },
          columns.map(([title, cell, style, labelled]) => {
            const made = cell(row);
            const empty = made === "" || made === null || made === undefined;
            return el(
              "td",
              { class: [style, empty ? "empty" : null].filter(Boolean).join(" ") || null, "data-label": labelled ? title : null },
              empty ? "" : made,
            );
          }),
        ),
      ),
    ),
  );
}

const asked = (draw) => follow(draw);

function fieldsOf(list) {
  const envelope = (field) => !field.path.startsWith("data");
  const columns = [
    ["Field", (one) => [el("code", {}, one.path), one.required ? null : [" ", mark("note", "optional")]]],
    ["Type", (one) => one.type],
    ["Unit", (one) => one.unit, null, true],
    ["What it says", (one) => [one.description, one.limits ? el("small", {}, one.limits) : null]],
  ];
  const own = list.filter((one) => !envelope(one) && one.path !== "data"),
    around = list.filter(envelope);
  return [
    grid(columns, own),
    el(
      "details",
      {},
      el("summary", {}, `The envelope that every event has (${around.length} fields)`),
      grid(columns, around, () => "envelope"),
    ),
  ];
}

const columnsOf = (list) =>
  grid(
    [
      ["Column", (one) => el("code", {}, one.name)],
      ["Type", (one) => one.type],
      ["Unit", (one) => one.unit, null, true],
      ["What it says", (one) => one.description],
    ],
    list,
  );

const KINDS_OF_FINDINGS = {
  undeclared_topic: "Undeclared topic",
  missing_topic: "Missing topic",
  dead_topic: "Dead topic",
  unread_topic: "Topic that nobody reads",
  dead_group: "Orphan consumer group",
  stopped_group: "Consumer group that stands still",
  undeclared_reader: "Undeclared reader",
  unreadable_contracts: "Unreadable contracts",
  unregistered_schema: "Unregistered schema",
  undeclared_schema: "Undeclared schema",
  undeclared_table: "Undeclared table",
  missing_table: "Missing table",
  missing_job: "Missing job",
  job_trouble: "Job in trouble",
  undeclared_job: "Undeclared job",
  past_its_end: "Version past its end",
  deprecated_sent: "Deprecated version, still sent",
};

function finding(one) {
  const { title, page } = called(one.node);
  const [kind] = one.node.split(":");
  return el(
    "div",
    { class: `found ${one.level}` },
    el("p", { class: "what" }, KINDS_OF_FINDINGS[one.kind] || one.kind),
    el(
      "p",
      {},
      ["subject", "files"].includes(kind) ? el("b", {}, title) : el("a", { href: href(page) }, title),
      " ",
      badge(kind),
      " ",
      one.text,
    ),
  );
}

/** Findings in groups: faults and warnings one by one, what there is much of folded. */
function findingsBlock(list) {
  const groups = new Map();
  for (const one of list) put(groups, `${one.level} ${one.kind}`, one);
  return el(
    "div",
    {},
    [...groups.values()].map((all) => {
      const most = all[0].level === "note" ? 2 : 6;
      if (all.length <= most) return all.map(finding);
      const shown = all[0].level === "note" ? 0 : most - 1,
        title = KINDS_OF_FINDINGS[all[0].kind] || all[0].kind;
      return [
        all.slice(0, shown).map(finding),
        el(
          "details",
          { class: `found ${all[0].level}` },
          el("summary", {}, `${all.length - shown}${shown ? " more" : ""} × ${title.toLowerCase()}`),
          all.slice(shown).map(finding),
        ),
      ];
    }),
  );
}

const here = (id) => follow(() => about(id).map(finding), "div");

function deprecation(version) {
  const end = version.deprecated;
  const past = end.ends < today();
  return el(
    "div",
    { class: `found ${past ? "fault" : "warning"}` },
    el(
      "p",
      {},
      el("b", {}, `Version ${version.version} is deprecated. `),
      `It ${past ? "ended" : "ends"} on ${end.ends}; send ${end.replacement} instead. ${end.owner} answers for it.`,
    ),
  );
}

function programChip(name, topic, reads) {
  return el(
    "a",
    { class: "chip", href: href(programId(name)) },
    el("span", { class: `k-${programs.has(name) ? programs.get(name).kind : "party"}` }, name),
    reads
      ? asked(() => {
          const group = seenGroup(name);
          if (!group || !(topic in group.lags)) return null;
          return el(
            "small",
            { class: group.lags[topic] ? "late" : null },
            group.lags[topic] ? ` ${waitingSaid(group, topic)} waiting` : " has read all",
          );
        })
      : null,
  );
}

/** Groups that read a topic although its contract does not name them. */
const strangers = (topic) =>
  (seen().groups || [])
    .filter((group) => topic.name in group.lags && !topic.consumers.includes(group.name))
    .map((group) =>
      el(
        "a",
        { class: "chip", href: href(`group:${group.name}`) },
        el("span", { class: "l-fault" }, group.name),
        el("small", {}, `undeclared, ${waitingSaid(group, topic.name)} waiting`),
      ),
    );

const chips = (list) => el("div", { class: "chips" }, list.length ? list : el("span", { class: "soft" }, "none"));
const chip = (id, text) =>
  el("a", { class: "chip", href: href(id) }, el("span", { class: `k-${id.split(":")[0]}` }, text || id.slice(id.indexOf(":") + 1)));
