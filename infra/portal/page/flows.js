// The pages of domains, topics and events. `things`: by kind, what makes the page of one, from the words of its address.

const things = {};

things.domain = (name) => {
  const own = catalogue.topics.filter((one) => one.domain === name);
  if (!own.length) return unknown("domain", name);
  return [
    head(
      [["Overview", "#/"]],
      "domain",
      name,
      `${plural(own.length, "topic")} of ${[...new Set(own.map((one) => one.owner))].join(", ")}.`,
    ),
    panel("Topics", null, topicsTable(own)),
  ];
};

things.topic = (name) => {
  const topic = topics.get(name);
  if (!topic) {
    const is = seenTopic(name);
    if (!is) return unknown("topic", name);
    return [
      head([["Topics", "#/topics"]], "topic", name, "A topic on the broker that no contract names.", mark("fault", "undeclared")),
      here(`topic:${name}`),
      panel(
        "Seen",
        null,
        facts([
          ["Records", upTo(is.records, is.at_most, number)],
          ["Partitions", is.partitions],
          ["Latest", ago(is.last_ms)],
          ["Events among the latest", is.versions.map((v) => `${v.event_type} ${v.version}`).join(", ")],
        ]),
      ),
    ];
  }
  const types = [...new Set(topic.versions.map((one) => one.event_type))];
  return [
    head(
      [
        ["Topics", "#/topics"],
        [topic.domain, href(`domain:${topic.domain}`)],
      ],
      "topic",
      name,
      topic.description,
    ),
    here(`topic:${name}`),
    follow(
      () => {
        const is = seenTopic(name);
        const tile = (value, text) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, text));
        const dead = topic.dead_letter_topic ? letters(topic.dead_letter_topic) : isLetters(topic) ? letters(name) : null;
        return live
          ? [
              tile(is ? upTo(is.records, is.at_most) : "–", "records held"),
              tile(is ? (is.last_ms === null ? "never" : ago(is.last_ms)) : "–", "latest record"),
              tile(slowest(name) ? waitingSaid(slowest(name), name) : "–", "wait for the slowest reader"),
              dead || topic.dead_letter_topic ? tile(dead ? upTo(dead.letters, dead.at_most) : "–", "dead letters") : null,
            ]
          : [];
      },
      "div",
      { class: "tiles" },
    ),
    el(
      "div",
      { class: "two" },
      panel("Who writes", null, chips(topic.producers.map((one) => programChip(one, name, false)))),
      panel(
        "Who reads",
        null,
        chips(topic.consumers.map((one) => programChip(one, name, true))),
        follow(() => strangers(topic), "div", { class: "chips" }),
      ),
    ),
    panel(
      "Events",
      plural(types.length, "type"),
      grid(
        [
          [
            "Event",
            (type) => [
              link(`event:${name}/${type}`, type),
              el("small", {}, topic.versions.filter((one) => one.event_type === type).at(-1).description),
            ],
          ],
          [
            "Versions",
            (type) =>
              topic.versions
                .filter((one) => one.event_type === type)
                .map((v) => [v.version, v.deprecated ? [" ", mark("deprecated", `ends ${v.deprecated.ends}`)] : "", " "]),
            null,
            true,
          ],
          [
            "Last sent",
            (type) =>
              asked(() => {
                const is = seenTopic(name),
                  own = is ? is.versions.filter((v) => v.event_type === type) : [];
                return own.length ? own.map((v) => `version ${v.version}: ${ago(v.last_ms)}`).join(", ") : "–";
              }),
            null,
            true,
          ],
        ],
        types,
      ),
    ),
    follow(() => {
      const mine = letters(name);
      return mine && mine.looked_at ? panel("Why letters were refused", `of the latest ${number(mine.looked_at)}`, reasons(mine)) : null;
    }, "div"),
    picturePanel(`topic:${name}`),
    panel(
      "Contract",
      topic.file,
      facts([
        ["Owner", topic.owner],
        ["Domain", link(`domain:${topic.domain}`)],
        ["Key", el("code", {}, topic.key)],
        ["Partitions", `${topic.partitions}, by ${topic.partitioner}`],
        ["Kept", topic.kept],
        ["Compatibility", topic.compatibility],
        ["Largest message", size(topic.max_message_bytes)],
        ["Dead letters", topic.dead_letter_topic ? topicLink(topic.dead_letter_topic) : "none"],
        ["Archive table", topic.table ? link(`table:${topic.table}`, topic.table) : "none"],
      ]),
    ),
    panel("Examples", null, examplesBlock(topic.examples)),
    hitsPanel(`topic:${name}`),
  ];
};

things.event = (id, version) => {
  const [name, type] = [id.slice(0, id.indexOf("/")), id.slice(id.indexOf("/") + 1)],
    topic = topics.get(name);
  const versions = topic ? topic.versions.filter((one) => one.event_type === type) : [];
  if (!versions.length) return unknown("event", id);
  const one = versions.find((v) => String(v.version) === version) || versions.at(-1);
  return [
    head(
      [
        ["Events", "#/events"],
        [name, href(`topic:${name}`)],
      ],
      "event",
      type,
      one.description,
      ...(one.deprecated ? [mark("deprecated", "deprecated")] : []),
    ),
    here(`event:${id}`),
    versions.filter((v) => v.deprecated).map(deprecation),
    versions.length > 1
      ? el(
          "nav",
          { class: "tabs", "aria-label": "Versions" },
          versions.map((v) =>
            el(
              "a",
              { href: `${href(`event:${id}`)}/${v.version}`, "aria-current": v === one ? "true" : null },
              `version ${v.version}${v.deprecated ? ", deprecated" : ""}`,
            ),
          ),
        )
      : null,
    panel(
      `Version ${one.version}`,
      `registered as ${one.subject}`,
      facts([
        ["Topic", topicLink(name)],
        ["Owner", topic.owner],
        ["Follows the version before", one.follows.length ? one.follows.join("; ") : null],
      ]),
      fieldsOf(one.fields),
    ),
    panel("Examples", null, examplesBlock(topic.examples.filter((e) => e.event_type === type && e.version === one.version))),
    el(
      "div",
      { class: "two" },
      panel("Who writes", null, chips(topic.producers.map((p) => programChip(p, name, false)))),
      panel("Who reads the topic", null, chips(topic.consumers.map((p) => programChip(p, name, true)))),
    ),
    hitsPanel(`event:${id}`),
    panel("Schema", "JSON Schema, draft 7", el("details", {}, el("summary", {}, "Show it"), json(one.schema))),
  ];
};
