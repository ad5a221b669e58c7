// The playground: a session with each Role that you look at, all on one socket, by rolehost.js. Text enters the page as
// text nodes only; the words that you said are kept on this machine only.

import { Panes, button, copier, element, forked } from "/panes.js";
import { connect } from "/rolehost.js";

const byId = (id) => document.getElementById(id);
const [role, status, empty, form, message, send] = ["role", "status", "empty", "say", "message", "send"].map(byId);
const MAX_ROWS = 300;
const PATIENCE_SECONDS = 300;
const MAX_TALKS = 24; // on one socket, which holds 32 sessions; then a new one is made

const id = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(36)).join("");
const whole = (value) => (value === null || value === undefined ? "–" : value < 10 ? value.toFixed(1) : Math.round(value));

// ── what is kept between visits ─────────────────────────────────────────────────────

const kept = {
  read(key) {
    try { return JSON.parse(localStorage.getItem(`rolehost.${key}`)); } catch { return null; }
  },
  write(key, value) {
    try { localStorage.setItem(`rolehost.${key}`, JSON.stringify(value)); } catch { /* private mode: then not */ }
  },
};

/** A trace's id, to be named to whoever runs the platform: short to see, whole to copy. */
const traced = (traceId, turn, title = "") => copier(traceId, {
  title: title + traceId.slice(0, 8), label: `Copy the id of turn ${turn}'s trace, ${traceId}`, named: "The trace's id", rows: 2,
});

// ── the conversation on the page ────────────────────────────────────────────────────

class Page {
  answers = new Map();
  told = new Map();
  count = 0;
  facts = { session: "–", revision: "–", seq: "–", version: "–", origin: "–" };
  steps = [];
  shown = false;

  constructor() {
    this.parts = { turns: element("ol", "turns"), timing: element("tbody"), patch: element("ul", "patch") };
    this.parts.turns.setAttribute("aria-live", "polite");
  }

  get turns() { return this.parts.turns; }

  /** In the place of the one that was looked at. */
  show() {
    for (const [name, part] of Object.entries(this.parts)) {
      const before = byId(name);
      before.removeAttribute("id");
      part.id = name;
      before.replaceWith(part);
    }
    this.shown = true;
    for (const name of Object.keys(this.facts)) this.fact(name, this.facts[name]);
    this.turns.scrollTop = this.turns.scrollHeight;
    empty.hidden = this.turns.children.length > 0;
  }

  fact(name, text) {
    this.facts[name] = text;
    if (this.shown) byId(name).textContent = text;
  }

  append(row) {
    const { turns } = this;
    const atEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80;
    turns.append(row);
    while (turns.children.length > MAX_ROWS) turns.firstChild.remove();
    if (this.shown) empty.hidden = true;
    if (atEnd) turns.scrollTop = turns.scrollHeight;
    return row;
  }

  mine(text) { this.append(element("li", "mine", text)); this.turns.scrollTop = this.turns.scrollHeight; }
  note(text, bad = false) { this.append(element("li", bad ? "note bad" : "note", text)); }

  answer(responseId) {
    if (!this.answers.has(responseId)) this.answers.set(responseId, this.append(element("li", "theirs open")));
    return this.answers.get(responseId);
  }

  delta(event) {
    this.answer(event.response_id).append(event.delta);
    this.follow();
  }

  /** Less of it was heard than was thought. */
  amended(event) { this.told.get(event.response_id)?.replaceChildren(event.message); }

  reset(responseId) { this.answers.get(responseId)?.replaceChildren(); }

  done(event) {
    if (event.status === "failed") {
      this.answers.get(event.response_id)?.remove();
      this.answers.delete(event.response_id);
      return;
    }
    const row = this.answer(event.response_id);
    row.textContent = event.message;
    row.classList.remove("open");
    this.answers.delete(event.response_id);
    this.told.set(event.response_id, row);
    if (this.told.size > MAX_ROWS) this.told.delete(this.told.keys().next().value);
    for (const hook of event.degraded ?? []) this.note(`${hook.hook} was left out: ${hook.code} ${hook.where}`, true);
    this.follow();
  }

  /** What may be done about the turn that was just answered; read out by nobody, but there for everybody. */
  deeds(atSeq, act) {
    const turn = this.count;
    this.broken?.remove();
    const row = element("li", "deeds", ...this.steps.map(({ from, to }) => element("span", "moved", `${from} → ${to}`)),
      button("Underneath", "small", () => act.look(turn), `Look underneath turn ${turn}`),
      button("Fork from here", "small", (event) => act.fork(atSeq, event.currentTarget), `Fork from turn ${turn}`));
    row.setAttribute("aria-live", "off");
    this.steps = [];
    this.append(row);
    this.follow();
  }

  /** The turn after the last one failed: it is not in the log, but may still be looked at. Said once, however often it fails. */
  failed(act, traceId) {
    const turn = this.count + 1;
    this.broken?.remove();
    this.steps = [];
    this.broken = element("li", "deeds", element("span", "moved bad", "not answered"),
      button("Underneath", "small", () => act.look(turn), `Look underneath turn ${turn}, which failed`),
      traceId && traced(traceId, turn, "trace "));
    this.broken.setAttribute("aria-live", "off");
    this.append(this.broken);
  }

  follow() {
    const { turns } = this;
    if (turns.scrollHeight - turns.scrollTop - turns.clientHeight < 160) turns.scrollTop = turns.scrollHeight;
  }

  timing(event) {
    const { ttft_ms, hooks_ms, commit_ms, total_ms } = event.metrics;
    const row = element("tr");
    this.count += 1;
    for (const cell of [this.count, whole(ttft_ms), whole(hooks_ms), whole(commit_ms), whole(total_ms)]) {
      row.append(element("td", "", String(cell)));
    }
    if (event.trace_id) {
      row.append(element("td", "", traced(event.trace_id, this.count)));
      byId("traces").hidden = false;
    }
    this.parts.timing.prepend(row);
    while (this.parts.timing.children.length > 12) this.parts.timing.lastChild.remove();
  }

  state(event) {
    this.fact("version", event.scope === "user" ? `version ${event.version} of this person's` : `version ${event.version}`);
    const signs = { add: "=", replace: "=", incr: "+=", remove: "removed" };
    this.parts.patch.replaceChildren(...event.patch.slice(0, 8).map(({ op, path, value }) =>
      element("li", "", `${path.slice(1)} ${signs[op] ?? op} ${op === "remove" ? "" : JSON.stringify(value ?? null)}`)));
  }
}

const sentence = (error) => (error ? [error.message, error.hint].filter(Boolean).join(". ") : "the turn failed");

// ── sessions ─────────────────────────────────────────────────────────────────────

class Talk {
  page = new Page();
  onPage = new Set();
  waiting = null;
  status = ["connecting", "connecting"];

  /** `made`: its session, or a promise for it. */
  constructor(name, sessionId, made) {
    this.name = name;
    this.id = sessionId;
    this.words = kept.read(`words.${sessionId}`) ?? {};
    this.page.fact("session", sessionId);
    this.session = made instanceof Promise ? null : made;
    this.join(made);
  }

  async join(made) {
    try {
      this.session = await made;
    } catch (error) {
      this.over = true;
      this.stands("refused", error.message);
      return;
    }
    if (this.ended) this.session.close();
    else await this.listen();
  }

  async listen() {
    for await (const event of this.session.events()) {
      if (this.ended) return;
      this.receive(event);
      this.page.fact("seq", String(this.session.seq ?? "–"));
    }
  }

  show() {
    this.page.show();
    panes.of(this.name, this.id);
    back.hidden = !this.origin;
    show(...this.status);
    form.toggleAttribute("data-busy", this.waiting !== null);
    allow();
  }

  hide() { this.page.shown = false; }

  stands(state, text = state) {
    this.status = [state, text];
    if (this.page.shown) show(state, text);
  }

  drop() { this.session?.reconnect(); }

  end() {
    this.ended = true;
    this.session?.close();
  }

  say(text) {
    const messageId = id();
    this.words[messageId] = text;
    this.words = Object.fromEntries(Object.entries(this.words).slice(-200));
    kept.write(`words.${this.id}`, this.words);
    this.onPage.add(messageId);
    this.page.mine(text);
    this.waiting = messageId;
    form.toggleAttribute("data-busy", true);
    allow();
    this.session.say(text, { client_msg_id: messageId }).catch((error) => {
      if (this.ended) return;
      this.page.note(error.message, true);
      this.free(messageId);
    });
  }

  receive(event) {
    const act = {
      "session.created": () => this.created(event),
      "session.resumed": () => { if (event.gap) this.page.note("a part of this session's history is lost", true); },
      "response.created": () => { this.said(event); this.page.answer(event.response_id); },
      "response.output_text.delta": () => this.page.delta(event),
      "response.amended": () => this.page.amended(event),
      "response.reset": () => this.page.reset(event.response_id),
      "role.state.delta": () => { this.page.state(event); this.beneath(); },
      "role.memory.committed": () => this.beneath(),
      "role.behavior.transition": () => this.page.steps.push(event),
      "response.done": () => this.done(event),
      "role.revision": () => {
        this.page.fact("revision", event.to);
        this.page.note(`now ${event.to} answers${event.state_reset ? "; what was kept in its state begins anew" : ""}`);
      },
      "client.lost": () => this.stands("lost", "reconnecting"),
      "client.retry": () => this.retried(event),
      "client.ended": () => this.finished(event.error),
    }[event.type];
    act?.();
  }

  finished(error) {
    this.over = true;
    this.stands("refused", sentence(error));
  }

  created(event) {
    this.page.fact("revision", event.role);
    this.origin = event.forked_from?.session_id ?? null;
    this.page.fact("origin", event.forked_from ? `${this.origin}, after event ${event.forked_from.at_seq}` : "–");
    if (this.page.shown) back.hidden = !this.origin;
    this.page.fact("version", `version ${event.version}`);
    if (event.greeting && !this.page.turns.children.length) this.page.append(element("li", "theirs", event.greeting));
    this.stands("open");
  }

  /** The words that are answered, where they were said before this page was loaded. */
  said({ client_msg_id: messageId }) {
    const words = this.words[messageId];
    if (words === undefined || this.onPage.has(messageId)) return;
    this.onPage.add(messageId);
    this.page.mine(words);
  }

  retried({ error }) {
    if (this.trouble !== error.code) this.page.note(`${sentence(error)}; it is tried again`);
    this.trouble = error.code;
  }

  done(event) {
    if (event.status !== "failed") this.said(event);
    this.page.done(event);
    if (event.status === "failed") {
      this.page.failed(this, event.trace_id);
      return;
    }
    this.trouble = null;
    this.page.timing(event);
    this.page.deeds(event.seq, this);
    this.beneath();
    if (event.revision) refresh();
    this.free(event.client_msg_id);
  }

  /** The panes show what came of it. */
  beneath() { if (this.page.shown) panes.refresh(); }

  look(turn) {
    underneath(true);
    panes.look(turn);
    byId("underneath").scrollIntoView({ block: "start" });
    byId("underneath").focus({ preventScroll: true });
  }

  /** A session of its own from there on, in this one's place; this one stays as it is. */
  async fork(atSeq, pressed) {
    pressed.disabled = true;
    try {
      const { session_id: fresh } = await forked(this.name, this.id, atSeq);
      kept.write(`words.${fresh}`, this.words);
      if (talk === this) open(this.name, fresh);
      message.focus();
    } catch (error) {
      this.page.note(error.message, true);
    }
    pressed.disabled = false;
  }

  free(messageId) {
    if (this.waiting !== messageId) return;
    this.waiting = null;
    if (!this.page.shown) return;
    form.toggleAttribute("data-busy", false);
    allow();
  }
}

const panes = new Panes();
const back = byId("back");
let talk = null;
/** The first of them is at home on the socket, and holds it for all. @type {Talk[]} */
let talks = [];
let onSocket = 0;

function show(state, text = state) {
  status.dataset.state = state;
  status.textContent = text === "open" ? "connected" : text;
  allow();
}

function allow() {
  send.disabled = status.dataset.state !== "open" || form.hasAttribute("data-busy") || !message.value.trim();
}

/** The talk with that Role, over the socket that stands. */
function join(name, sessionId) {
  const known = talks.find((one) => one.name === name && one.id === sessionId && !one.over);
  if (known) return known;
  const ask = { sessionId, afterSeq: 0, patience: PATIENCE_SECONDS };
  let [home] = talks;
  if (!home || home.over || onSocket >= MAX_TALKS) {
    for (const one of talks.toReversed()) one.end();
    [talks, onSocket, home] = [[], 0, null];
  }
  onSocket += 1;
  const made = new Talk(name, sessionId, home ? home.session.switch(name, ask) : connect(location.origin, name, ask));
  talks = [...talks.filter((one) => one === home || !one.over), made];
  return made;
}

/** The session with that Role that was open last, or this one. */
function open(name, sessionId = kept.read(`session.${name}`) ?? `play-${id()}`) {
  kept.write(`session.${name}`, sessionId);
  kept.write("role", name);
  const before = talk;
  talk = join(name, sessionId);
  if (before && before !== talk) {
    before.hide();
    if (before.name === name && talks[0] !== before) {
      talks = talks.filter((one) => one !== before);
      before.end();
    }
  }
  talk.show();
  follow(name);
}

// ── Roles ───────────────────────────────────────────────────────────────────────────

async function refresh() {
  let roles = [];
  try {
    const answer = await fetch("/v1/roles");
    if (!answer.ok) throw new Error(String(answer.status));
    roles = (await answer.json()).roles;
  } catch {
    return;
  }
  const signature = JSON.stringify(roles);
  if (role.dataset.signature === signature) return;
  role.dataset.signature = signature;
  const chosen = talk?.name ?? kept.read("role");
  role.replaceChildren(...roles.map(({ name, display_name, ready }) => {
    const option = element("option", "", ready ? display_name : `${display_name} (not ready)`);
    option.value = name;
    return option;
  }));
  role.disabled = roles.length === 0;
  const name = roles.some((one) => one.name === chosen) ? chosen : roles[0]?.name;
  if (!name) { show("refused", "no Role yet"); return; }
  role.value = name;
  if (talk?.name !== name) open(name);
}

// ── what the logic printed ──────────────────────────────────────────────────────────

let reading = null;

async function follow(name) {
  reading?.abort();
  const mine = (reading = new AbortController());
  byId("logs").replaceChildren();
  let after = 0;
  while (!mine.signal.aborted) {
    try {
      const answer = await fetch(`/v1/roles/${encodeURIComponent(name)}/logs?follow=1&after=${after}`, { signal: mine.signal });
      if (!answer.ok) return;
      for await (const line of lines(answer.body)) {
        after = Math.max(after, line.number);
        print(line);
      }
    } catch {
      if (mine.signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
    after = 0;
    if (!mine.signal.aborted) byId("logs").replaceChildren();
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
}

function print({ at_ms, stream, text }) {
  const logs = byId("logs");
  const atEnd = logs.scrollHeight - logs.scrollTop - logs.clientHeight < 40;
  const row = element("li", stream);
  row.append(element("time", "", new Date(at_ms).toTimeString().slice(0, 8)), text.replace(/\n$/, ""));
  logs.append(row);
  while (logs.children.length > MAX_ROWS) logs.firstChild.remove();
  if (atEnd) logs.scrollTop = logs.scrollHeight;
}

// ── what is open ────────────────────────────────────────────────────────────────────

function underneath(isOpen) {
  byId("underneath").hidden = !isOpen;
  byId("beneath").setAttribute("aria-expanded", String(isOpen));
  kept.write("underneath", isOpen);
}

for (const pane of document.querySelectorAll(".pane")) {
  const key = `pane.${pane.dataset.pane}`;
  pane.open = kept.read(key) ?? pane.open;
  pane.addEventListener("toggle", () => kept.write(key, pane.open));
}
underneath(kept.read("underneath") ?? true);
byId("beneath").addEventListener("click", () => underneath(byId("underneath").hidden));

// ── hands ───────────────────────────────────────────────────────────────────────────

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = message.value.trim();
  if (!text || send.disabled) return;
  message.value = "";
  talk.say(text);
});
message.addEventListener("input", allow);
message.addEventListener("keydown", (event) => {
  // Enter while an input method composes chooses a character; it does not send.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
role.addEventListener("change", () => open(role.value));
byId("fresh").addEventListener("click", () => { open(role.value, `play-${id()}`); message.focus(); });
back.addEventListener("click", () => open(talk.name, talk.origin));
byId("reconnect").addEventListener("click", () => talk?.drop());
setInterval(() => { if (!document.hidden) refresh(); }, 4000);
refresh();
