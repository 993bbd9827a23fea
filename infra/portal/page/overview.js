// The overview: what was found by looking, and the topics with what is seen of each.

function statusTiles() {
  const is = seen();
  const tile = (to, value, text) => el("a", { class: "tile", href: to }, el("b", {}, value), el("span", {}, text));
  const features = catalogue.views.reduce((sum, view) => sum + view.features.length, 0);
  if (!live) {
    return [
      tile("#/topics", number(catalogue.topics.length), "topics"),
      tile("#/events", number(eventTypes().length), "event types"),
      tile("#/tables", number(catalogue.tables.length), "tables"),
      tile("#/features", number(features), "features"),
      tile("#/models", number(catalogue.models.length), "model versions"),
      tile("#/programs", number(catalogue.programs.length), "readers and writers"),
    ];
  }
  const worst = findings().filter((one) => one.level !== "note").length;
  const running = is.jobs ? is.jobs.filter((job) => job.state === "RUNNING").length : null;
  const late = is.groups ? is.groups.reduce((sum, group) => sum + lagOf(group), 0) : null;
  return [
    tile("#/findings", worst ? el("span", { class: "alarm" }, number(worst)) : "0", worst === 1 ? "thing to look at" : "things to look at"),
    tile("#/topics", number(catalogue.topics.length), "topics declared"),
    tile("#/groups", upTo(late, (is.groups || []).some((group) => group.at_most.length)), "records wait for readers"),
    tile("#/dead-letters", is.dead_letters ? lettersSaid() : "–", "dead letters kept"),
    tile("#/programs", running === null ? "–" : number(running), "Flink jobs run"),
    tile("#/features", number(features), "features"),
  ];
}

function silences() {
  const names = Object.keys(seen().silent);
  if (!live)
    return el(
      "div",
      { class: "found" },
      el(
        "p",
        {},
        "Nothing that runs was looked at: this page shows what is declared. ",
        el("code", {}, "./streamhouse portal"),
        " shows both.",
      ),
    );
  if (!names.length) return null;
  return el(
    "div",
    { class: "found warning" },
    el(
      "details",
      {},
      el(
        "summary",
        {},
        `${names.join(", ")} did not answer; what is said of ${names.length > 1 ? "them" : "it"} here is what is declared.`,
      ),
      names.map((name) => el("p", {}, el("b", {}, name), ": ", seen().silent[name])),
    ),
  );
}

function findingsPanel(whole) {
  return follow(
    () => {
      if (!live) return silences();
      const list = findings(),
        grave = list.filter((one) => one.level !== "note");
      const calm = Object.keys(seen().silent).length ? "Nothing, as far as could be looked." : "What is declared and what runs agree.";
      const note = `looked at ${moment(seen().at_ms)}`;
      return [
        silences(),
        panel(
          whole ? "What was found by looking" : "To look at",
          note,
          grave.length ? null : el("p", { class: "calm" }, calm),
          findingsBlock(list),
        ),
      ];
    },
    "div",
    { class: "findings" },
  );
}

const freshness = (topic) => {
  const is = seenTopic(topic.name);
  return is === null
    ? seen().topics
      ? mark("fault", "not there")
      : "–"
    : is.last_ms === null
      ? el("span", { class: "soft" }, is.written ? "emptied" : "never written")
      : ago(is.last_ms);
};

function topicsTable(list) {
  return grid(
    [
      ["Topic", (one) => [topicLink(one.name), el("small", {}, one.description)]],
      ["Owner", (one) => one.owner, "tight", true],
      ["Events", (one) => plural(new Set(one.versions.map((v) => v.event_type)).size, "type"), "tight"],
      ...(polls || live
        ? [
            [
              "Records",
              (one) =>
                asked(() => {
                  const is = seenTopic(one.name);
                  return is ? upTo(is.records, is.at_most) : "–";
                }),
              "right",
              true,
            ],
            ["Latest", (one) => asked(() => freshness(one)), "right", true],
            [
              "Waiting",
              (one) =>
                asked(() => {
                  const group = slowest(one.name);
                  if (!group) return "–";
                  return group.lags[one.name] ? el("span", { class: "l-warning" }, waitingSaid(group, one.name)) : "0";
                }),
              "right",
              true,
            ],
          ]
        : []),
    ],
    list,
  );
}

const eventTypes = () =>
  catalogue.topics.flatMap((topic) =>
    [...new Set(topic.versions.map((one) => one.event_type))].map((type) => ({
      topic,
      type,
      versions: topic.versions.filter((one) => one.event_type === type),
    })),
  );

function overview() {
  document.title = "Streamhouse events";
  const made = [
    el(
      "div",
      { class: "head" },
      el("h1", {}, "What flows here, who says it, and who listens"),
      el(
        "p",
        { class: "lead" },
        "Made from the contracts, feature definitions, model manifests and tables, and held against what runs. Nobody writes this page.",
      ),
    ),
    follow(() => statusTiles(), "div", { class: "tiles" }),
    findingsPanel(false),
    ...domains.map((domain) => {
      const own = catalogue.topics.filter((one) => one.domain === domain);
      return panel(
        el("a", { href: href(`domain:${domain}`) }, domain),
        `${plural(own.length, "topic")}, ${plural(new Set(own.flatMap((t) => t.versions.map((v) => v.event_type))).size, "event type")}`,
        topicsTable(own.filter((one) => !isLetters(one))),
        lettersOf(own),
      );
    }),
    panel("Elsewhere", "one click away", elsewhere()),
  ];
  return made;
}

const LINKS = {
  Flink: "jobs, checkpoints and logs, while the stack runs",
  Registry: "the schemas as they are registered, while the stack runs",
  Feast: "the feature registry; start it with ./streamhouse feast ui",
};
const elsewhere = () =>
  el(
    "div",
    { class: "tiles" },
    Object.entries(catalogue.links).map(([name, url]) =>
      el(
        "a",
        { class: "tile", href: /^https?:\/\//.test(url) ? url : null, rel: "noreferrer", target: "_blank" },
        el("b", {}, `${name} ↗`),
        el("span", {}, LINKS[name] || url),
      ),
    ),
  );

const letterTopics = new Set(catalogue.topics.map((one) => one.dead_letter_topic).filter(Boolean));
const isLetters = (topic) => letterTopics.has(topic.name);

function lettersOf(list) {
  const own = list.filter(isLetters);
  return own.length ? el("details", {}, el("summary", {}, plural(own.length, "topic"), " of dead letters"), topicsTable(own)) : null;
}
