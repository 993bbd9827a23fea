// The pages that list things.

const AT_MOST = "Few records are counted one by one; of many (≤) the offsets are, of which the broker's own marks take some.";

const pages = {
  "": overview,
  topics: () => [
    section("Topics", `Each has one contract, which says who may write to it, who reads it, and what it may carry. ${AT_MOST}`),
    ...domains.map((domain) => panel(domain, null, topicsTable(catalogue.topics.filter((one) => one.domain === domain)))),
    follow(() => {
      const strange = (seen().topics || []).filter((one) => !topics.has(one.name));
      return strange.length
        ? panel(
            "On the broker alone",
            "no contract names them",
            grid(
              [
                ["Topic", (one) => topicLink(one.name)],
                ["Records", (one) => upTo(one.records, one.at_most), "right", true],
                ["Latest", (one) => ago(one.last_ms), "right", true],
              ],
              strange,
            ),
          )
        : null;
    }, "div"),
  ],
  events: () => {
    const all = eventTypes();
    return [
      section("Event types", "What can be said on the topics, with every version that may still be sent."),
      panel(
        plural(all.length, "event type"),
        null,
        grid(
          [
            ["Event", (one) => [link(`event:${one.topic.name}/${one.type}`, one.type), el("small", {}, one.versions.at(-1).description)]],
            ["Topic", (one) => topicLink(one.topic.name), "tight", true],
            [
              "Versions",
              (one) =>
                one.versions.map((v) => [v.version, v.deprecated ? [" ", mark("deprecated", `ends ${v.deprecated.ends}`)] : "", " "]),
              null,
              true,
            ],
            ["Owner", (one) => one.topic.owner, "tight", true],
          ],
          all.sort((a, b) => a.type.localeCompare(b.type)),
        ),
      ),
    ];
  },
  tables: () => [
    section("Tables", "Iceberg tables for notebooks, training and SQL; read models for services."),
    ...["iceberg", "read model"].map((kind) =>
      panel(
        kind === "iceberg" ? "Iceberg tables" : "Read models",
        kind === "iceberg" ? "./streamhouse query" : "SQLite or PostgreSQL",
        grid(
          [
            ["Table", (one) => [link(tableId(one.name), one.name), el("small", {}, one.description)]],
            ["Owner", (one) => one.owner, "tight", true],
            ["Columns", (one) => one.columns.length, "right", true],
            ...(kind === "iceberg"
              ? [
                  [
                    "Rows",
                    (one) =>
                      asked(() => {
                        const is = seenTable(one.name);
                        return is ? short(is.rows) : "–";
                      }),
                    "right",
                    true,
                  ],
                  [
                    "Snapshot",
                    (one) =>
                      asked(() => {
                        const is = seenTable(one.name);
                        return is ? ago(is.snapshot_ms) : "–";
                      }),
                    "right",
                    true,
                  ],
                ]
              : []),
          ],
          catalogue.tables.filter((one) => one.kind === kind),
        ),
      ),
    ),
  ],
  features: () => [
    section("Features", "What is known of an entity, and from when; served online by Feast, joined as of any time for training."),
    ...catalogue.views.map((view) =>
      panel(
        el("a", { href: href(`feature_view:${view.name}`) }, view.name),
        `${view.features.length} features of ${view.entity}`,
        el("p", {}, view.description),
        featuresTable(view),
      ),
    ),
  ],
  models: () => [
    section("Models", "Every published version; a version never changes afterwards."),
    panel(
      plural(catalogue.models.length, "model version"),
      null,
      grid(
        [
          [
            "Model",
            (one) => [link(`model:${one.id}`), one.serves ? [" ", mark("well", "scores now")] : null, el("small", {}, one.description)],
          ],
          ["Owner", (one) => one.owner, "tight", true],
          ["Inputs", (one) => one.inputs.length, "right", true],
          ["AUC", (one) => (one.metrics.auc ? one.metrics.auc[0].toFixed(4) : "–"), "right", true],
          [
            "Average precision",
            (one) => (one.metrics.average_precision ? one.metrics.average_precision[0].toFixed(4) : "–"),
            "right",
            true,
          ],
        ],
        catalogue.models,
      ),
    ),
  ],
  programs: () => [
    section("Readers and writers", "Who writes to topics and who reads them, as the contracts say."),
    ...PROGRAMS.map((kind) => {
      const own = catalogue.programs.filter((one) => one.kind === kind);
      const title = { job: "Flink jobs", service: "Services", command: "Commands", party: "Elsewhere" }[kind];
      return own.length
        ? panel(
            title,
            null,
            grid(
              [
                ["Name", (one) => [link(programId(one.name), one.name), one.description ? el("small", {}, one.description) : null]],
                ["Reads", (one) => plural(one.reads.length, "topic"), "tight", true],
                ["Writes", (one) => plural(one.writes.length, "topic"), "tight", true],
                ["State", (one) => asked(() => programState(one)), "right"],
              ],
              own,
            ),
          )
        : null;
    }),
  ],
  groups: () => [
    section("Consumer groups", `How far each reader is, as the broker knows it. ${AT_MOST}`),
    follow(
      () =>
        seen().groups
          ? panel(
              plural(seen().groups.length, "group"),
              `looked at ${moment(seen().at_ms)}`,
              seen().groups.length ? groupsTable(seen().groups) : el("p", {}, "No group has read a topic yet."),
            )
          : silences() || panel("Groups", null, el("p", {}, "Nobody could look.")),
      "div",
    ),
  ],
  "dead-letters": () => [
    section("Dead letters", "What was refused is kept with its reason, and can be repaired and sent again: ./streamhouse dlq."),
    follow(
      () =>
        seen().dead_letters
          ? panel(
              "By topic",
              `reasons of the latest letters, looked at ${moment(seen().at_ms)}`,
              grid(
                [
                  ["Topic", (one) => topicLink(one.topic)],
                  ["Letters", (one) => upTo(one.letters, one.at_most), "right", true],
                  ["Why", (one) => (Object.keys(one.reasons).length ? reasons(one) : el("span", { class: "soft" }, "none"))],
                ],
                [...seen().dead_letters].sort((a, b) => b.letters - a.letters),
              ),
            )
          : silences() || null,
      "div",
    ),
  ],
  findings: () => [section("Findings", "Where what is declared and what runs do not agree."), findingsPanel(true)],
  graph: () => {
    const chosen = (letters) => everything((topic) => letters || !isLetters(topic));
    const box = el("div", {}, drawing(chosen(false), "Who writes which topic, who reads it, and what is made of it", null, 1400));
    const all = el("input", {
      type: "checkbox",
      id: "letters",
      onchange: () => box.replaceChildren(drawing(chosen(all.checked), "The same with dead letters", null, 1400)),
    });
    return [
      section(
        "The whole picture",
        "From who writes to what is made of it. Point at a box to see its lines; open it to see what a change there would hit.",
      ),
      el(
        "section",
        { class: "panel" },
        el("header", {}, el("h2", {}, "Flow"), el("p", {}, all, " ", el("label", { for: "letters" }, "with dead letters"))),
        box,
      ),
    ];
  },
};

function reasons(one) {
  const most = Math.max(...Object.values(one.reasons));
  return Object.entries(one.reasons).map(([why, count]) => {
    const inner = el("i", {});
    inner.style.width = `${(100 * count) / most}%`;
    return el(
      "div",
      {},
      el("span", { class: "bar", "aria-hidden": "true" }, inner),
      " ",
      el("b", { class: "number" }, number(count)),
      " ",
      why,
    );
  });
}

function groupsTable(list) {
  return grid(
    [
      ["Group", (one) => link(`group:${one.name}`, one.name)],
      ["Reads", (one) => [...Object.keys(one.lags), ...one.gone].map((name, i) => [i ? ", " : "", topicLink(name)])],
      [
        "Members",
        (one) => (programs.has(one.name) && programs.get(one.name).kind === "job" ? "Flink" : number(one.members)),
        "right",
        true,
      ],
      ["Waiting", (one) => (lagOf(one) ? el("span", { class: "l-warning" }, lagSaid(one)) : "0"), "right", true],
    ],
    list,
  );
}

function programState(one) {
  const job = seenJob(one.name),
    group = seenGroup(one.name);
  if (!one.group.length) return "";
  if (one.kind === "job")
    return seen().jobs ? (job ? mark(job.trouble ? "fault" : "well", job.state.toLowerCase()) : mark("note", "does not run")) : "";
  return seen().groups ? (group && group.members ? mark("well", plural(group.members, "member")) : mark("note", "nobody reads")) : "";
}
