// What is known: the catalogue, the graph, and what runs as of the latest answer.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const catalogue = read("data-catalogue");
const version = read("data-version");
const polls = read("data-polls");
let live = read("data-live");
let heard = live ? live.seen.at_ms : null; // the server's clock at the latest answer, and ours
let heardAt = Date.now();
const now = () => (heard === null ? Date.now() : polls ? heard + (Date.now() - heardAt) : heard);
const seen = () => (live ? live.seen : { silent: {} });

const by = (list) => new Map(list.map((one) => [one.name || one.id, one]));
const topics = by(catalogue.topics),
  tables = by(catalogue.tables),
  views = by(catalogue.views);
const programs = by(catalogue.programs),
  models = new Map(catalogue.models.map((one) => [one.id, one]));
const sizeOf = (domain) => catalogue.topics.filter((one) => one.domain === domain).length;
const domains = [...new Set(catalogue.topics.map((one) => one.domain))].sort((a, b) => sizeOf(b) - sizeOf(a) || a.localeCompare(b));

const PROGRAMS = ["job", "service", "command", "party"];
const WORDS = {
  feature_view: "feature view",
  feature_service: "feature service",
  read_model: "read model",
  party: "elsewhere",
  subject: "registry subject",
  files: "contract files",
  job: "Flink job",
  version: "event version",
  group: "consumer group",
};
const word = (kind) => WORDS[kind] || kind;
const href = (id) => `#/${id.slice(0, id.indexOf(":"))}/${encodeURIComponent(id.slice(id.indexOf(":") + 1))}`;
const programId = (name) => `${programs.has(name) ? programs.get(name).kind : "party"}:${name}`;
const tableId = (name) => `${tables.has(name) && tables.get(name).kind === "read model" ? "read_model" : "table"}:${name}`;

// -- what runs, by name; null: nobody could look

const found = (list, name) => (seen()[list] ? seen()[list].find((one) => one.name === name) || null : null);
const seenTopic = (name) => found("topics", name);
const seenGroup = (name) => found("groups", name);
const seenJob = (name) => found("jobs", name);
const seenTable = (name) => found("tables", name);
const letters = (name) => (seen().dead_letters || []).find((one) => one.topic === name) || null;
function lettersSaid() {
  const all = seen().dead_letters;
  return upTo(
    all.reduce((sum, one) => sum + one.letters, 0),
    all.some((one) => one.at_most),
  );
}
const findings = () => (live ? live.findings : []);
const about = (id) => findings().filter((one) => one.node === id);
const lagOf = (group) => Object.values(group.lags).reduce((sum, lag) => sum + lag, 0);

const lagSaid = (group, format) => upTo(lagOf(group), group.at_most.length, format);
const waitingSaid = (group, topic, format) => upTo(group.lags[topic], group.at_most.includes(topic), format);

/** The group that has the most records of a topic still to read; null: nobody reads it in a group. */
function slowest(topic) {
  const groups = (seen().groups || []).filter((group) => topic in group.lags);
  return groups.length ? groups.reduce((one, other) => (other.lags[topic] > one.lags[topic] ? other : one)) : null;
}

// -- the graph: nodes as `kind:name`

const nodes = catalogue.graph.nodes.map(([kind, name, known]) => ({ id: `${kind}:${name}`, kind, name, known }));
const nodeOf = new Map(nodes.map((node) => [node.id, node]));
const after = new Map(),
  before = new Map();
const put = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
for (const [from, to, how, why] of catalogue.graph.edges) {
  const edge = { from: nodes[from].id, to: nodes[to].id, how, why };
  put(after, edge.from, edge);
  put(before, edge.to, edge);
}

/** All that a change of a node reaches, nearest first, each with its steps and the edge by which it is reached. As graph.hit_by in Python. */
const DATA = new Set(["holds", "reads", "made from"]);

function hits(start, wide = true) {
  const by = new Map([[start, null]]);
  const reached = [];
  let ring = [start];
  for (let steps = 1; ring.length; steps += 1) {
    const next = [];
    for (const id of ring) {
      for (const edge of after.get(id) || []) {
        if (by.has(edge.to) || (!wide && !DATA.has(edge.how))) continue;
        by.set(edge.to, edge);
        next.push(edge.to);
        reached.push({ id: edge.to, steps, edge });
      }
    }
    ring = next;
  }
  return { reached, by };
}

// -- the same graph without the small parts: a field counts as its topic, a column as its table, a feature as its view

const INTO = { event: "topic", version: "topic", field: "topic", column: null, feature: "feature_view", endpoint: "service" };
const holder = new Map();
for (const edges of after.values()) {
  for (const { from, to, how } of edges) {
    const isPart = how === "holds" ? !/^(domain|group):/.test(from) : how === "has" && to.startsWith("endpoint:");
    if (isPart) holder.set(to, from);
  }
}

function whole(id) {
  const kind = id.slice(0, id.indexOf(":"));
  if (kind === "domain") return null;
  if (kind === "group") {
    const member = (after.get(id) || []).find((edge) => edge.how === "holds");
    return member ? whole(member.to) : null;
  }
  return kind in INTO ? (holder.has(id) ? whole(holder.get(id)) : null) : id;
}

const ahead = new Map(),
  behind = new Map();
for (const edges of after.values()) {
  for (const edge of edges) {
    const from = whole(edge.from),
      to = whole(edge.to);
    if (!from || !to || from === to || (ahead.get(from) || []).includes(to)) continue;
    put(ahead, from, to);
    put(behind, to, from);
  }
}
