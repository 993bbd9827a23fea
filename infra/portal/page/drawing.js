// The graph as a picture: columns from what is read to what is made of it.

const WIDE = 176,
  HIGH = 40,
  ACROSS = 78,
  DOWN = 12,
  EDGE = 24;

/** The neighbourhood of a node: two steps back on its left, two ahead on its right; a node on both sides stands there twice. */
function neighbourhood(id, most = 9) {
  const layers = [[{ key: "0", id }]],
    edges = [];
  const rest = new Map();
  for (const [side, map] of [
    [1, ahead],
    [-1, behind],
  ]) {
    let ring = [{ key: "0", id }];
    const met = new Set([id]);
    for (let step = 1; step <= 2 && ring.length; step += 1) {
      const next = new Map();
      for (const from of ring) {
        for (const to of map.get(from.id) || []) {
          if (met.has(to) && !next.has(to)) continue;
          if (!next.has(to)) next.set(to, { key: `${side}${to}`, id: to });
          met.add(to);
          edges.push(side > 0 ? [from.key, next.get(to).key] : [next.get(to).key, from.key]);
        }
      }
      const all = [...next.values()],
        kept = all.slice(0, all.length > most + 1 ? most : all.length);
      if (kept.length < all.length) rest.set(side * step, all.length - kept.length);
      if (kept.length) layers[side > 0 ? "push" : "unshift"](kept);
      ring = kept;
    }
  }
  const keys = new Set(layers.flat().map((node) => node.key));
  return { layers, edges: edges.filter(([a, b]) => keys.has(a) && keys.has(b)), rest };
}

/** Everything in columns by kind; what both writes and reads stands on both sides of the topics. */
function everything(wanted = () => true) {
  const layers = [[], [], [], [], []],
    edges = [],
    keys = new Set();
  const put = (layer, id, key) => {
    if (!keys.has(key)) {
      keys.add(key);
      layers[layer].push({ key, id });
    }
    return key;
  };
  const isProgram = (id) => PROGRAMS.includes(id.split(":")[0]);
  const level = (id) => (/^(table|read_model):/.test(id) ? 3 : 4);
  const ofLetters = new Set(catalogue.topics.filter((one) => !wanted(one)).map((one) => `table:${one.table}`));
  for (const topic of catalogue.topics.filter(wanted)) {
    const id = `topic:${topic.name}`,
      at = put(1, id, id);
    for (const from of behind.get(id) || []) if (isProgram(from)) edges.push([put(0, from, `w ${from}`), at]);
    for (const to of ahead.get(id) || []) {
      if (isProgram(to)) edges.push([at, put(2, to, `r ${to}`)]);
      else if (!to.startsWith("topic:") && !ofLetters.has(to)) edges.push([at, put(level(to), to, to)]);
    }
  }
  for (const kind of ["read_model", "table", "feature_view", "model"]) {
    for (const node of nodes.filter((one) => one.kind === kind && !ofLetters.has(one.id))) {
      for (const from of behind.get(node.id) || []) {
        const key = isProgram(from) ? `r ${from}` : from;
        if (keys.has(key) && !layers[level(node.id)].some((one) => one.key === key))
          edges.push([key, put(level(node.id), node.id, node.id)]);
      }
    }
  }
  return {
    layers: layers.filter((layer) => layer.length),
    edges,
    rest: new Map(),
    titles: ["written by", "topics", "read by", "tables", "features, models"].filter((_, i) => layers[i].length),
  };
}

/** Each column in the order of its neighbours' middles, a few times over: fewer lines cross. */
function ordered(layers, edges) {
  const place = new Map();
  const note = () => layers.forEach((layer) => layer.forEach((node, i) => place.set(node.key, (i + 0.5) / layer.length)));
  note();
  for (let round = 0; round < 8; round += 1) {
    const order = round % 2 ? [...layers].reverse() : layers;
    for (const layer of order) {
      const middle = new Map(
        layer.map((node) => {
          const beside = edges.filter(([a, b]) => a === node.key || b === node.key).map(([a, b]) => place.get(a === node.key ? b : a));
          return [node.key, beside.length ? beside.reduce((sum, one) => sum + one, 0) / beside.length : place.get(node.key)];
        }),
      );
      layer.sort((a, b) => middle.get(a.key) - middle.get(b.key) || a.id.localeCompare(b.id));
      note();
    }
  }
}

function clipped(text, most = 22) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function drawing(picture, label, focus = null, tall = null) {
  const { layers, edges, rest, titles } = picture;
  ordered(layers, edges);
  const top = titles ? 26 : 8,
    most = Math.max(...layers.map((layer) => layer.length));
  const height = top + most * (HIGH + DOWN) + EDGE,
    width = layers.length * WIDE + (layers.length - 1) * ACROSS + 2 * EDGE;
  const place = new Map(),
    boxes = new Map(),
    lines = [];
  layers.forEach((layer, column) =>
    layer.forEach((node, row) => {
      const space = (height - top - EDGE) / layer.length;
      place.set(node.key, [EDGE + column * (WIDE + ACROSS), top + EDGE / 2 + space * (row + 0.5) - HIGH / 2]);
    }),
  );
  for (const [from, to] of edges) {
    const [x1, y1] = place.get(from),
      [x2, y2] = place.get(to),
      bend = (x2 - x1 - WIDE) / 2;
    const line = svg("path", {
      class: "g-edge",
      d: `M${x1 + WIDE} ${y1 + HIGH / 2}C${x1 + WIDE + bend} ${y1 + HIGH / 2} ${x2 - bend} ${y2 + HIGH / 2} ${x2} ${y2 + HIGH / 2}`,
    });
    lines.push({ from, to, line });
  }
  const light = (id) => {
    const near = new Set(),
      own = new Set([...boxes].filter(([, box]) => box.id === id).map(([key]) => key));
    lines.forEach(({ from, to, line }) => {
      const on = id !== null && (own.has(from) || own.has(to));
      if (on) {
        near.add(from);
        near.add(to);
      }
      line.setAttribute("class", `g-edge${on ? " lit" : id === null ? "" : " dim"}`);
    });
    boxes.forEach((box, key) =>
      box.node.setAttribute(
        "class",
        `g-node k-${box.id.split(":")[0]}${box.id === focus ? " here" : ""}${id === null || near.has(key) || own.has(key) ? "" : " dim"}`,
      ),
    );
  };
  for (const node of layers.flat()) {
    const [x, y] = place.get(node.key),
      { title } = called(node.id),
      kind = node.id.split(":")[0];
    const box = svg(
      "a",
      { class: `g-node k-${kind}${node.id === focus ? " here" : ""}`, href: href(node.id), "aria-label": `${title}, ${word(kind)}` },
      svg("title", {}, `${title} (${word(kind)})`),
      svg("rect", { x, y, width: WIDE, height: HIGH, rx: 8 }),
      svg("text", { class: "g-kind", x: x + 10, y: y + 14 }, word(kind)),
      svg("text", { x: x + 10, y: y + 30 }, clipped(title)),
    );
    for (const [event, id] of [
      ["mouseenter", node.id],
      ["focus", node.id],
      ["mouseleave", null],
      ["blur", null],
    ])
      box.addEventListener(event, () => light(id));
    boxes.set(node.key, { node: box, id: node.id });
  }
  const middle = layers.findIndex((layer) => layer.some((node) => node.id === focus && node.key === "0"));
  const more = [...rest].map(([step, count]) =>
    svg("text", { class: "g-title", x: EDGE + (middle + step) * (WIDE + ACROSS), y: height - 4 }, `and ${count} more, listed below`),
  );
  const heads = (titles || []).map((title, i) => svg("text", { class: "g-title", x: EDGE + i * (WIDE + ACROSS), y: 16 }, title));
  const made = svg(
    "svg",
    { role: "group", "aria-label": label },
    lines.map((one) => one.line),
    heads,
    [...boxes.values()].map((one) => one.node),
    more,
  );
  return movable(made, width, height, middle < 0 ? null : EDGE + middle * (WIDE + ACROSS) + WIDE / 2, tall);
}

/** Moved by dragging, larger and smaller by buttons or Ctrl and the wheel; on a narrow screen it begins at its middle rather than tiny. */
function movable(picture, width, height, middle, tall) {
  const box = el("div", { class: "drawing" }, picture);
  const view = { x: 0, y: 0, width, height };
  const show = () => picture.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
  const scale = (factor, x = view.x + view.width / 2, y = view.y + view.height / 2) => {
    const next = Math.min(width * 2, Math.max(160, view.width * factor)),
      by = next / view.width;
    Object.assign(view, { x: x - (x - view.x) * by, y: y - (y - view.y) * by, width: view.width * by, height: view.height * by });
    show();
  };
  const fit = () => {
    const room = box.clientWidth || 900,
      least = 0.78;
    const shown = Math.min(width, room / least),
      high = Math.min(tall || 520, Math.max(120, height * (room / shown)));
    picture.style.height = `${high}px`;
    Object.assign(view, { width: Math.max(shown, tall ? 0 : shown), height: high * (shown / room), y: 0, x: 0 });
    if (shown < width) view.x = Math.min(width - shown, Math.max(0, (middle === null ? width / 2 : middle) - shown / 2));
    if (shown >= width && room > width) Object.assign(view, { width: room, x: (width - room) / 2, height: high });
    show();
  };
  let from = null;
  picture.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY, vx: view.x, vy: view.y, moved: false };
  });
  picture.addEventListener("pointermove", (event) => {
    if (!from || !event.buttons) return;
    const by = view.width / picture.clientWidth,
      dx = event.clientX - from.x,
      dy = event.clientY - from.y;
    if (!from.moved && Math.hypot(dx, dy) < 5) return;
    if (!from.moved) picture.setPointerCapture(event.pointerId);
    from.moved = true;
    Object.assign(view, { x: from.vx - dx * by, y: event.pointerType === "touch" ? view.y : from.vy - dy * by });
    show();
  });
  picture.addEventListener(
    "click",
    (event) => {
      if (from && from.moved) event.preventDefault();
      from = null;
    },
    true,
  );
  picture.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const edge = picture.getBoundingClientRect(),
        by = view.width / edge.width;
      scale(event.deltaY > 0 ? 1.15 : 0.87, view.x + (event.clientX - edge.left) * by, view.y + (event.clientY - edge.top) * by);
    },
    { passive: false },
  );
  const button = (text, name, act) => el("button", { type: "button", "aria-label": name, title: name, onclick: act }, text);
  box.prepend(
    el(
      "div",
      { class: "tools" },
      button("+", "larger", () => scale(0.8)),
      button("−", "smaller", () => scale(1.25)),
      button("whole", "as at first", fit),
    ),
  );
  requestAnimationFrame(fit);
  return box;
}
