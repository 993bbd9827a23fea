// The pages of who reads and writes.

things.group = (name) => {
  const program = programs.get(name);
  if (!seenGroup(name) && !program) return unknown("group", name);
  return [
    head(
      [["Groups", "#/groups"]],
      "group",
      name,
      program ? program.description : "A consumer group that no contract names.",
      ...(program ? [] : [mark("fault", "undeclared")]),
    ),
    here(`group:${name}`),
    follow(() => {
      const is = seenGroup(name);
      if (!is) return panel("Seen", null, el("p", {}, seen().groups ? "The broker knows no group of this name." : "Nobody could look."));
      return panel(
        "Seen",
        `looked at ${moment(seen().at_ms)}`,
        facts([
          ["State", is.state],
          ["Members", number(is.members)],
        ]),
        grid(
          [
            ["Topic", ([topic]) => topicLink(topic)],
            [
              "Waiting",
              ([topic, lag]) => (lag ? el("span", { class: "l-warning" }, waitingSaid(is, topic, number)) : "0"),
              "right",
              true,
            ],
          ],
          Object.entries(is.lags),
        ),
        is.gone.length ? el("p", {}, "Topics that it read and that are gone: ", is.gone.join(", ")) : null,
      );
    }, "div"),
    program ? panel("Reader", null, chips([chip(programId(name), name)])) : null,
  ];
};

function program(name) {
  const one = programs.get(name);
  if (!one) {
    const job = seenJob(name);
    return job
      ? [head([["Readers and writers", "#/programs"]], "job", name, "A job of Flink that no contract names."), here(`job:${name}`)]
      : unknown("service", name);
  }
  const id = programId(name);
  return [
    head([["Readers and writers", "#/programs"]], one.kind, name, one.description),
    here(id),
    here(`group:${name}`),
    one.kind === "job" || one.group.length
      ? panel(
          "Now",
          null,
          follow(() => {
            const job = seenJob(name),
              group = seenGroup(name);
            return facts([
              ["State", one.kind === "job" ? (job ? job.state.toLowerCase() : seen().jobs ? "does not run" : null) : programState(one)],
              ["Runs for", job ? span(job.running_for) : null],
              ["Restarts", job ? number(job.restarts) : null],
              ["Latest checkpoint", job && job.checkpoint_age !== null ? `${span(job.checkpoint_age)} ago` : null],
              ["Records that wait", group ? lagSaid(group, number) : null],
              ["Members", group && one.kind !== "job" ? number(group.members) : null],
            ]);
          }, "div"),
          one.group.length ? el("p", {}, link(`group:${name}`, "its consumer group")) : null,
        )
      : null,
    el(
      "div",
      { class: "two" },
      panel("Reads", null, chips(one.reads.map((t) => chip(`topic:${t}`)))),
      panel("Writes", null, chips(one.writes.map((t) => chip(`topic:${t}`)))),
    ),
    one.file ? panel("Code", null, el("code", {}, one.file)) : null,
    picturePanel(id),
    hitsPanel(id),
  ];
}
for (const kind of PROGRAMS) things[kind] = program;
things.read_model = things.table;
things.endpoint = (name) => [
  head([["Readers and writers", "#/programs"]], "endpoint", name, "An address of the HTTP service shop-http."),
  hitsPanel(`endpoint:${name}`),
];
things.feature_service = (name) => [
  head([["Features", "#/features"]], "feature_service", name, "The features that models of this name take."),
  hitsPanel(`feature_service:${name}`),
];
