// The pages of what is made of events: tables, features, models.

things.table = (name) => {
  const table = tables.get(name),
    is = seenTable(name);
  if (!table)
    return is
      ? [
          head(
            [["Tables", "#/tables"]],
            "table",
            name,
            is.by_pattern ? "Scores that ./streamhouse backfill made." : "A table in the catalog that nothing declares.",
            is.by_pattern ? null : mark("fault", "undeclared"),
          ),
          here(`table:${name}`),
          panel(
            "Seen",
            null,
            facts([
              ["Rows", number(is.rows)],
              ["Newest snapshot", ago(is.snapshot_ms)],
            ]),
          ),
        ]
      : unknown("table", name);
  const id = tableId(name);
  return [
    head([["Tables", "#/tables"]], id.split(":")[0], name, table.description),
    here(id),
    panel(
      "About",
      null,
      follow(() => {
        const now = seenTable(name);
        return facts([
          ["Owner", table.owner],
          ["Kept", table.retention],
          ["Partitioned by", table.layout],
          ["Made of", table.topics.length ? table.topics.map((one, i) => [i ? ", " : "", topicLink(one)]) : null],
          ["Rows", now ? number(now.rows) : null],
          ["Newest snapshot", now ? ago(now.snapshot_ms) : null],
        ]);
      }, "div"),
    ),
    picturePanel(id),
    panel("Columns", plural(table.columns.length, "column"), columnsOf(table.columns)),
    table.kind === "iceberg" ? panel("Query it", null, el("pre", {}, `./streamhouse query "SELECT * FROM ${name} LIMIT 5"`)) : null,
    hitsPanel(id),
  ];
};

things.feature_view = (name) => {
  const view = views.get(name);
  if (!view) return unknown("feature_view", name);
  return [
    head([["Features", "#/features"]], "feature_view", name, view.description),
    here(`feature_view:${name}`),
    panel(
      "About",
      null,
      facts([
        ["Owner", view.owner],
        ["Entity", view.entity],
        ["Freshness", view.freshness],
        ["History in", link(`table:${view.table}`, view.table)],
        ["Feature services", view.services.join(", ")],
        [
          "Models",
          catalogue.models
            .filter((m) => m.inputs.some((i) => i.source.startsWith(`${name}:`)))
            .map((m, i) => [i ? ", " : "", link(`model:${m.id}`)]),
        ],
      ]),
    ),
    picturePanel(`feature_view:${name}`),
    panel("Features", plural(view.features.length, "feature"), featuresTable(view)),
    hitsPanel(`feature_view:${name}`),
  ];
};

things.feature = (id) => {
  const view = views.get(id.slice(0, id.indexOf(":"))),
    feature = view && view.features.find((one) => one.id === id);
  if (!feature) return unknown("feature", id);
  const users = catalogue.models.filter((m) => m.inputs.some((i) => i.source === id));
  return [
    head(
      [
        ["Features", "#/features"],
        [view.name, href(`feature_view:${view.name}`)],
      ],
      "feature",
      feature.name,
      feature.description,
    ),
    panel(
      "About",
      null,
      facts([
        ["Type", feature.type],
        ["Unit", feature.unit],
        ["Owner", view.owner],
        ["Freshness", view.freshness],
      ]),
      el("pre", {}, `./streamhouse feast get-online-features -e user_id=user_0000 -f ${id}`),
    ),
    el(
      "div",
      { class: "two" },
      panel(
        "Made from",
        null,
        chips(
          (before.get(`feature:${id}`) || [])
            .filter((e) => e.how === "made from")
            .map((e) => {
              const c = called(e.from);
              return el("a", { class: "chip", href: href(c.page) }, c.title, el("small", {}, c.note));
            }),
        ),
      ),
      panel("Models that take it", null, chips(users.map((m) => chip(`model:${m.id}`)))),
    ),
    hitsPanel(`feature:${id}`),
  ];
};

things.model = (id) => {
  const model = models.get(id);
  if (!model) return unknown("model", id);
  return [
    head([["Models", "#/models"]], "model", id, model.description, ...(model.serves ? [mark("well", "scores now")] : [])),
    here(`model:${id}`),
    panel(
      "About",
      null,
      facts([
        ["Owner", model.owner],
        ["Answers", model.meaning],
        ["Label", model.label],
        ["Decides yes from", model.threshold],
        ["Feature service", model.feature_service],
        ["Trained from", model.trained_from.map((one, i) => [i ? ", " : "", link(`table:${one}`, one)])],
        ["sha256", el("code", {}, model.sha256)],
      ]),
    ),
    panel(
      "How good it was",
      "on the test period",
      grid(
        [
          ["Metric", ([name]) => name.replace(/_/g, " ")],
          ["Model", ([, [own]]) => own.toFixed(4), "right", true],
          ["Baseline", ([, [, base]]) => base.toFixed(4), "right", true],
        ],
        Object.entries(model.metrics),
      ),
    ),
    picturePanel(`model:${id}`),
    panel(
      "Inputs",
      plural(model.inputs.length, "input"),
      grid(
        [
          ["Input", (i) => el("code", {}, i.name)],
          ["From", (i) => (i.source.startsWith("action:") ? i.source : link(`feature:${i.source}`, i.source)), null, true],
          ["Where unknown", (i) => i.default, "right", true],
          ["Categories", (i) => (i.vocabulary.length ? i.vocabulary.join(", ") : ""), null, true],
        ],
        model.inputs,
      ),
    ),
    hitsPanel(`model:${id}`),
  ];
};
