// What the panes show, worked out of what REST says: values in, values out, no page. Tried in tests/integration/local.

const MAX_ROWS = 200;
const MAX_VALUE = 400;
const ROW = 3; // nodes beside each other
const [WIDE, HIGH, GAP, DROP, SIDE] = [104, 30, 14, 34, 16];
export const MAX_DRAWN = 24;

const short = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);

/** A state as rows, nested objects by their path. */
export function flat(state, most = MAX_ROWS) {
  const rows = [];
  const walk = (value, path) => {
    if (rows.length >= most) return;
    const entries = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
    if (entries.length) for (const [name, inner] of entries) walk(inner, path ? `${path}.${name}` : name);
    else if (path) rows.push({ path, value: short(JSON.stringify(value), MAX_VALUE) });
  };
  walk(state, "");
  return rows;
}

/** The paths that a turn's patches changed, as `flat` has them: a change within a list is one of the list. */
export function changed(events, scope = "session") {
  const paths = new Set();
  for (const event of events) {
    if (event.type !== "role.state.delta" || (event.scope ?? "session") !== scope) continue;
    for (const { path } of event.patch) {
      paths.add(path.slice(1).split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~")).join("."));
    }
  }
  return paths;
}

export const isChanged = (path, paths) =>
  [...paths].some((one) => one === path || one.startsWith(`${path}.`) || path.startsWith(`${one}.`));

// ── the graph ───────────────────────────────────────────────────────────────────────

/** The edges out of the node where the turn was found, each with its chance in percent among those that could be taken. */
export function candidates({ node, edges = [] }) {
  const out = edges.filter((edge) => edge.from === node);
  const able = out.filter(({ verdict }) => ["could", "taken"].includes(verdict));
  const sum = able.reduce((whole, { weight = 1 }) => whole + weight, 0);
  return out.map((edge) => ({
    ...edge,
    chance: able.includes(edge) && sum > 0 ? Math.round((100 * (edge.weight ?? 1)) / sum) : null,
  }));
}

/** Where nodes and edges are drawn: rows by how many steps a node is from the first one. Null: too many to be read. */
export function drawn({ nodes = [], edges = [], initial, node, to }) {
  if (!nodes.length || nodes.length > MAX_DRAWN) return null;
  const names = nodes.map(({ name }) => name);
  const depth = new Map([[names.includes(initial) ? initial : names[0], 0]]);
  for (const [name, steps] of depth) { // grows while it is walked
    for (const edge of edges) if (edge.from === name && names.includes(edge.to) && !depth.has(edge.to)) depth.set(edge.to, steps + 1);
  }
  const last = Math.max(...depth.values());
  for (const name of names) if (!depth.has(name)) depth.set(name, last + 1);
  const rows = [];
  for (let step = 0; step <= last + 1; step += 1) {
    const here = names.filter((name) => depth.get(name) === step);
    while (here.length) rows.push(here.splice(0, ROW));
  }
  const width = ROW * WIDE + (ROW + 1) * GAP + 2 * SIDE;
  const places = new Map();
  rows.forEach((row, number) => row.forEach((name, column) => {
    const free = width - row.length * WIDE - (row.length - 1) * GAP;
    places.set(name, { x: free / 2 + column * (WIDE + GAP), y: GAP + number * (HIGH + DROP), row: number });
  }));
  const pairs = new Map();
  const rank = ({ verdict = "" }) => ["taken", "could", "cooling", "failed", "false", "off", ""].indexOf(verdict);
  for (const edge of edges) {
    const key = JSON.stringify([edge.from, edge.to]);
    if (!places.has(edge.from) || !places.has(edge.to)) continue;
    if (!pairs.has(key) || rank(edge) < rank(pairs.get(key))) pairs.set(key, edge);
  }
  return {
    width,
    height: rows.length * (HIGH + DROP) - DROP + 2 * GAP,
    boxes: nodes.map(({ name, disabled = false }) => ({
      name, label: short(name, 14), disabled, now: name === to, was: name === node && node !== to, width: WIDE, height: HIGH,
      x: places.get(name).x, y: places.get(name).y,
    })),
    lines: [...pairs.values()].map((edge) => ({
      from: edge.from, to: edge.to, verdict: edge.verdict ?? "", path: line(places.get(edge.from), places.get(edge.to), width),
    })),
  };
}

function line(from, to, width) {
  const middle = from.x + WIDE / 2;
  if (from === to) {
    const [left, y] = [from.x, from.y + HIGH / 2];
    return `M${left} ${y - 7}c-18 -8 -18 22 -2 14`;
  }
  if (to.row > from.row) {
    const [x, y, end] = [to.x + WIDE / 2, to.y - 2, from.y + HIGH];
    const bend = Math.min(DROP, (y - end) / 2);
    return `M${middle} ${end}C${middle} ${end + bend} ${x} ${y - bend} ${x} ${y}`;
  }
  if (to.row === from.row) {
    const right = to.x > from.x;
    const [start, end, y] = [right ? from.x + WIDE : from.x, right ? to.x - 2 : to.x + WIDE + 2, from.y + HIGH / 2 + (right ? -6 : 6)];
    return Math.abs(end - start) < 2 * GAP
      ? `M${start} ${y}L${end} ${y}`
      : `M${middle} ${from.y}C${middle} ${from.y - 18} ${to.x + WIDE / 2} ${from.y - 18} ${to.x + WIDE / 2} ${to.y - 2}`;
  }
  const [start, end] = [from.x + WIDE, to.x + WIDE + 2];
  const out = Math.min(width - 4, Math.max(start, end) + 22 + 4 * (from.row - to.row));
  return `M${start} ${from.y + 10}C${out} ${from.y} ${out} ${to.y + HIGH} ${end} ${to.y + HIGH - 8}`;
}

const ESCAPED = /["#;:<>{}[\]|`\\%&]/g;
/** Text in a label: what means something to mermaid is a code. */
const label = (text) => short(text.split(/\s+/).filter(Boolean).join(" "), 48).replace(ESCAPED, (sign) => `#${sign.codePointAt(0)};`);

/** All subgraphs as one mermaid diagram, as `rolehost explain` draws it. */
export function mermaid(graphs) {
  const lines = ["stateDiagram-v2"];
  graphs.forEach((graph, place) => {
    const prefix = graphs.length > 1 ? String.fromCharCode(97 + place) : "n";
    const alone = graphs.length === 1 && graph.name === "main";
    if (!alone) lines.push(`    state "${label(graph.name)} (${graph.share ?? 1})" as g${place} {`);
    const indent = alone ? "    " : "        ";
    const ids = new Map((graph.nodes ?? []).map(({ name }, number) => [name, `${prefix}${number}`]));
    for (const { name, disabled } of graph.nodes ?? []) {
      lines.push(`${indent}state "${label(name)}${disabled ? " (disabled)" : ""}" as ${ids.get(name)}`);
    }
    if (ids.has(graph.initial)) lines.push(`${indent}[*] --> ${ids.get(graph.initial)}`);
    for (const edge of graph.edges ?? []) {
      if (!ids.has(edge.from) || !ids.has(edge.to)) continue;
      const said = about({ ...edge, why: label(edge.why ?? "") }).join(", ");
      lines.push(`${indent}${ids.get(edge.from)} --> ${ids.get(edge.to)}${said ? `: ${said}` : ""}`);
    }
    if (!alone) lines.push("    }");
  });
  return lines.join("\n");
}

/** Weight, predicate and rest of an edge, where they are not as usual. */
export function about({ weight = 1, why = "", rests_turns: turns = 0, rests_seconds: seconds = 0 }) {
  return [
    ...(weight === 1 ? [] : [String(weight)]), ...(why ? [why] : []),
    ...(turns ? [`rests ${turns} turn${turns > 1 ? "s" : ""}`] : []), ...(seconds ? [`rests ${seconds} s`] : []),
  ];
}

// ── the prompt ──────────────────────────────────────────────────────────────────────

/** Each segment as what a cache can have known of it, and the rest. Offsets count characters, not UTF-16 units. */
export function pieces({ segments, prefix }) {
  return segments.map((segment, place) => {
    const letters = [...segment.text];
    const at = place < prefix.segment ? letters.length : place === prefix.segment ? Math.min(prefix.offset, letters.length) : 0;
    return { ...segment, known: letters.slice(0, at).join(""), fresh: letters.slice(at).join(""), ends: place === prefix.segment };
  });
}

const KINDS = {
  persona: "persona", logic: "the logic and the graph", told: "told by the client", history: "history", memory: "what is remembered",
  input: "message", answer: "the answer so far", steer: "said meanwhile", tool: "tool", added: "added",
};
export const kindOf = (kind) => KINDS[kind] ?? String(kind);

/** In one sentence, how much of a prompt a provider's cache can have known, and what ended that. */
export function prefixOf({ chars, prefix }) {
  const than = prefix.compared_with === "call" ? "the call before" : "every call of this revision";
  const much = `${prefix.chars} of ${chars} characters (about ${prefix.tokens} tokens) begin as ${than} did`;
  return prefix.ended_by ? `${much}; ${kindOf(prefix.ended_by)} ended it.` : `${much}.`;
}
