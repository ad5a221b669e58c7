// The panes beside the conversation: one turn from underneath, read over REST. Whatever a persona, a model or a user wrote
// enters the page as text; the picture of the graph is made of elements, never of markup.

import { about, candidates, changed, drawn, flat, isChanged, kindOf, mermaid, pieces, prefixOf } from "/underneath.js";

const byId = (id) => document.getElementById(id);
const SOON_MS = 150;
const SVG = "http://www.w3.org/2000/svg";
const WHY = {
  not_kept: "What the model was shown in this turn is not kept any more: only that of the newest turns is, for a few minutes.",
  off: "This gateway keeps no prompts. ROLEHOST_INSPECT_MEBIBYTES says how much it may.",
  forbidden: "Prompts and traces are for keys with the scope push.",
};
const VERDICTS = { could: "could be taken", taken: "taken", false: "did not hold", failed: "failed", cooling: "rests", off: "off", "": "" };

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function button(text, className, act, label) {
  const made = element("button", className, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

const fill = (id, ...children) => byId(id).replaceChildren(...children.filter(Boolean));
const hint = (text) => element("p", "hint", text);
const fact = (name, text) => [element("dt", "", name), element("dd", "", text)];

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {};
  if (answer.ok) return body;
  const said = body.error ?? {};
  throw Object.assign(new Error([said.message, said.hint].filter(Boolean).join(". ") || `status ${answer.status}`), { code: said.code });
}

const send = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const forked = (role, sessionId, atSeq) =>
  ask(`/v1/roles/${encodeURIComponent(role)}/sessions/${encodeURIComponent(sessionId)}/fork`, send({ at_seq: atSeq }));

/** The panes; they look at one turn of one session at a time. */
export class Panes {
  #of = null;
  #turn = 0; // 0: the newest, whichever that is
  #seen = null;
  #timer = null;
  #asked = 0;
  #editing = false;

  constructor() {
    byId("older").addEventListener("click", () => this.look(this.#seen.turn - 1));
    byId("newer").addEventListener("click", () => this.look(this.#seen.turn + 1));
    this.#clear();
  }

  /** Another session, at its newest turn. */
  of(role, sessionId) {
    const key = `${role}/${sessionId}`;
    if (this.#of?.key === key) return;
    const base = `/v1/roles/${encodeURIComponent(role)}`;
    this.#of = {
      key, inspect: `${base}/sessions/${encodeURIComponent(sessionId)}/inspect`,
      memories: `${base}/memories`, query: `?session=${encodeURIComponent(sessionId)}`,
    };
    [this.#turn, this.#seen, this.#editing] = [0, null, false];
    this.#clear();
    this.refresh();
  }

  /** Something happened in that session. */
  refresh() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), SOON_MS);
  }

  look(turn) {
    if (turn < 1 || (this.#seen && turn > this.#seen.turns + 1)) return;
    this.#turn = turn === this.#seen?.turns ? 0 : turn;
    clearTimeout(this.#timer);
    this.#read();
  }

  async #read() {
    const [of, number] = [this.#of, (this.#asked += 1)];
    const current = () => of === this.#of && number === this.#asked;
    const [turn, memories] = await Promise.allSettled([
      ask(`${of.inspect}${this.#turn ? `?turn=${this.#turn}` : ""}`), ask(`${of.memories}${of.query}&limit=100`),
    ]);
    if (!current()) return;
    if (turn.status === "fulfilled") this.#show(turn.value);
    else if (turn.reason.code !== "session_not_found") fill("prompt", hint(turn.reason.message));
    if (this.#editing) return; // what is being written stays
    if (memories.status === "fulfilled") this.#remembered(memories.value);
    else fill("memories", hint(memories.reason.message));
  }

  #clear() {
    for (const [id, text] of [
      ["behavior", "Where the session stands in the Role's graph, once something was said."], ["state", "Empty."],
      ["memories", "Nothing is remembered."], ["recalled", ""], ["prompt", "What the model is shown, once something was said."],
    ]) fill(id, text && hint(text));
    byId("looking").textContent = "no turn yet";
    byId("older").disabled = byId("newer").disabled = true;
  }

  #show(seen) {
    this.#seen = seen;
    byId("looking").textContent = !seen.turn ? "no turn yet" : seen.answered ? `turn ${seen.turn} of ${seen.turns}` : `turn ${seen.turn}, not answered`;
    byId("older").disabled = seen.turn < 2;
    byId("newer").disabled = seen.turn >= seen.turns;
    this.#state(seen);
    this.#behavior(seen);
    this.#prompt(seen);
  }

  // ── state ─────────────────────────────────────────────────────────────────────────

  #state({ state, user_state: shared, version, user_version: theirs, events, turn, turns }) {
    const when = turn === turns ? "in this turn" : `in turn ${turn}; values are today's`;
    fill("state",
      table(`The session's, version ${version}`, state, changed(events), when),
      shared && table(`The person's, version ${theirs}`, shared, changed(events, "user"), when));
  }

  // ── the graph ─────────────────────────────────────────────────────────────────────

  #behavior({ trace, nodes, events, underneath }) {
    const names = Object.keys(nodes);
    if (!names.length) return fill("behavior", hint("This Role has no behaviour graph."));
    const steps = events.filter(({ type }) => type === "role.behavior.transition");
    const parts = trace.length
      ? trace.flatMap((graph) => graphParts(graph, steps.find(({ subgraph }) => subgraph === graph.name), trace.length > 1))
      : [
        ...names.map((name) => element("p", "now", names.length > 1 ? `${name}: ` : "now at ", element("b", "", nodes[name]))),
        ...steps.map((step) => element("p", "", `${step.from} → ${step.to} `, because(step))), underneath !== "shown" && hint(WHY[underneath]),
      ];
    fill("behavior", ...parts, trace.length > 0 && copier(mermaid(trace), { title: "Copy as mermaid", named: "The graph as mermaid", rows: 6 }));
  }

  // ── the prompt ────────────────────────────────────────────────────────────────────

  #prompt({ underneath, calls, recalls, turns, events }) {
    fill("recalled", ...recalls.map(recalled));
    if (!turns && !calls.length) return;
    const done = events.find(({ type }) => type === "response.done");
    if (underneath !== "shown") return fill("prompt", hint(WHY[underneath]), done && usage(done));
    if (!calls.length) return fill("prompt", hint("No model was asked in this turn."));
    fill("prompt", ...calls.map((call, place) => prompted(call, place, calls.length)));
  }

  // ── memory ────────────────────────────────────────────────────────────────────────

  #remembered({ memories, after }) {
    if (!memories.length) return fill("memories", hint("Nothing is remembered."));
    fill("memories", element("ul", "memories", ...memories.map((one) => this.#memory(one))), after && hint("There are more."));
  }

  #memory(one) {
    const where = `turn ${one.turn}${one.until_ms ? "; does not hold any more" : ""}`;
    const row = element("li", one.asserted ? "asserted" : "",
      element("p", "text", one.text), element("p", "meta", one.asserted ? `${where}; said by the user, not confirmed` : where));
    const told = (words) => `${words}: ${one.text.slice(0, 60)}`;
    const deeds = element("p", "deeds");
    row.append(deeds);
    if (one.asserted) deeds.append(button("Confirm", "", () => this.#change(row, one, "/confirm", { method: "POST" }), told("Confirm")));
    if (one.kind === "long") deeds.append(button("Edit", "", () => this.#edit(row, one), told("Edit")));
    const forget = button("Forget", "", () => {
      if (forget.dataset.sure) return this.#change(row, one, "", { method: "DELETE" });
      forget.dataset.sure = "yes";
      forget.textContent = "Forget for good?";
      forget.setAttribute("aria-label", told("Forget for good"));
    }, told("Forget"));
    forget.addEventListener("blur", () => {
      delete forget.dataset.sure;
      forget.textContent = "Forget";
      forget.setAttribute("aria-label", told("Forget"));
    });
    deeds.append(forget);
    return row;
  }

  #edit(row, one) {
    this.#editing = true;
    const text = element("textarea");
    [text.value, text.maxLength, text.rows] = [one.text, 2000, 3];
    text.setAttribute("aria-label", "What is remembered");
    const over = () => { this.#editing = false; row.replaceWith(this.#memory(one)); };
    const save = () => this.#change(row, one, "", send({ text: text.value }));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") over();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); save(); }
    });
    row.replaceChildren(text, element("p", "deeds", button("Save", "", save), button("Cancel", "", over)));
    text.focus();
  }

  async #change(row, { id }, path, options) {
    const { memories, query } = this.#of;
    for (const one of row.querySelectorAll("button")) one.disabled = true;
    try {
      await ask(`${memories}/${encodeURIComponent(id)}${path}${query}`, options);
      this.#editing = false;
      this.refresh();
    } catch (error) {
      for (const one of row.querySelectorAll("button")) one.disabled = false;
      row.querySelector(".bad")?.remove();
      const said = element("p", "bad", error.message);
      said.setAttribute("role", "alert");
      row.append(said);
    }
  }
}

// ── parts of panes ──────────────────────────────────────────────────────────────────

function table(caption, state, paths, when) {
  const rows = flat(state);
  const made = element("table", "values", element("caption", "", rows.length ? caption : `${caption}: empty`));
  made.append(element("tbody", "", ...rows.map(({ path, value }) => {
    const isNew = isChanged(path, paths);
    const name = element("th", "", path);
    name.scope = "row";
    if (isNew) name.append(element("span", "mark", " ●"), element("span", "unseen", ` changed ${when}`));
    return element("tr", isNew ? "changed" : "", name, element("td", "", value));
  })));
  return made;
}

/** Why a step was taken, in words. */
const because = ({ edge: { weight, of, why } }) =>
  [why && (weight ? `because ${why}` : "the node is not in this revision's graph"), of > weight && `by chance, ${weight} of ${of}`].filter(Boolean).join("; ");

function graphParts(graph, step, isOneOfSeveral) {
  const stayed = graph.node === graph.to;
  const out = candidates(graph);
  const rows = out.map((edge) => element("tr", edge.verdict === "taken" ? "taken" : "",
    element("td", "", `→ ${edge.to}`), element("td", "verdict", VERDICTS[edge.verdict ?? ""] ?? "", edge.chance === null ? "" : ` (${edge.chance} %)`),
    element("td", "", ...about(edge).flatMap((text, place) => [place ? ", " : "", element("code", "", text)]))));
  const heading = element("tr", "", ...["edge", "in this turn", "weight, condition, rest"].map((text) => {
    const cell = element("th", "", text);
    cell.scope = "col";
    return cell;
  }));
  return [
    isOneOfSeveral && element("h3", "", graph.name),
    element("p", "now", stayed ? "stayed at " : `${graph.node} → `, element("b", "", graph.to)),
    step && because(step) && element("p", "hint", because(step)),
    picture(graph),
    rows.length
      ? element("table", "ways", element("caption", "unseen", `Edges out of ${graph.node}`), element("thead", "", heading), element("tbody", "", ...rows))
      : hint(`No edge leads out of ${graph.node}.`),
    graph.left_out > 0 && hint(`${graph.left_out} nodes and edges more are not shown.`),
  ];
}

let pictures = 0;

function picture(graph) {
  const plan = drawn(graph);
  if (!plan) return null;
  const make = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    made.append(...children);
    return made;
  };
  const tip = `tip-${(pictures += 1)}`;
  return make("svg", { viewBox: `0 0 ${plan.width} ${plan.height}`, role: "img", class: "graph", "aria-label": `The graph ${graph.name}, now at ${graph.to}` },
    make("defs", {}, make("marker", { id: tip, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
      make("path", { d: "M0 0L8 4L0 8z", class: "tip" }))),
    ...plan.lines.map(({ path, verdict, from, to }) =>
      make("path", { d: path, class: `line ${verdict || "other"}`, "marker-end": `url(#${tip})` }, make("title", {}, `${from} → ${to}`))),
    ...plan.boxes.map(({ x, y, width, height, label, name, now, was, disabled }) =>
      make("g", { class: ["node", now && "now", was && "was", disabled && "disabled"].filter(Boolean).join(" ") },
        make("title", {}, name), make("rect", { x, y, width, height, rx: 9 }),
        make("text", { x: x + width / 2, y: y + height / 2 + 4, "text-anchor": "middle" }, label))));
}

/** A button that copies a text where the browser lets it, and shows it to be copied by hand where it does not. */
export function copier(text, { title, named, rows, label }) {
  const shown = element("textarea", "copied");
  [shown.value, shown.readOnly, shown.hidden, shown.rows] = [text, true, true, rows];
  shown.setAttribute("aria-label", named);
  const made = button(title, "small", async () => {
    try {
      await navigator.clipboard.writeText(text);
      made.textContent = "Copied";
      made.removeAttribute("aria-label");
    } catch {
      shown.hidden = false;
      shown.select();
    }
  }, label);
  return element("div", "copy", made, shown);
}

function prompted(call, place, count) {
  const { prefix, chars } = call;
  const meter = element("meter");
  [meter.min, meter.max, meter.value] = [0, Math.max(1, chars), prefix.chars];
  meter.setAttribute("aria-label", "Part of the prompt that a cache can have known");
  const title = call.reply ? "the reply" : "the logic's question";
  return element("section", "call",
    count > 1 && element("h3", "", `Call ${place + 1} of ${count}: ${title}`),
    usage(call), meter, element("p", "hint", prefixOf(call)),
    call.cut && hint(`The prompt has ${chars} characters and was too large to be kept.`),
    element("ol", "segments", ...pieces(call).map(segment)));
}

function segment({ kind, speaker, known, fresh, chars, text, ends }) {
  const body = element("div", "said");
  if (known) body.append(element("span", "known", known));
  if (ends) {
    const edge = element("span", "edge", "cache ends here");
    body.append(edge);
  }
  body.append(fresh);
  if (chars > [...text].length) body.append(element("em", "", text ? " … cut here" : "forgotten since"));
  return element("li", known && !fresh ? "all-known" : "", element("p", "kind", `${kindOf(kind)} · ${speaker} · ${chars}`), body);
}

function usage({ usage: { input_tokens: asked = 0, cached_tokens: cached = 0, output_tokens: said = 0, estimated = false } = {}, model, finish_reason: end }) {
  return element("dl", "facts",
    ...fact("model", model || "–"),
    ...fact("tokens", `${asked} in${cached ? ` (${cached} from the provider's cache)` : ""}, ${said} out${estimated ? ", about" : ""}`),
    ...fact("ended by", end || "–"));
}

function recalled({ query, reminder, memories, forgotten }) {
  const what = reminder ? "The model was reminded of" : query ? `Recalled for “${query.slice(0, 80)}”` : "Recalled";
  const rows = memories.map(({ text }) => element("li", "", text));
  if (forgotten) rows.push(element("li", "", `${forgotten} forgotten since`));
  return element("div", "", element("p", "hint", `${what}: ${rows.length ? "" : "nothing"}`), element("ul", "recalled", ...rows));
}
