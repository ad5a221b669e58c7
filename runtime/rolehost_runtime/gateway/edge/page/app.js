// The playground: one Role, one session, by rolehost.js. Text enters the page as text nodes
// only; the words that you said are kept on this machine only.

import { connect } from "/rolehost.js";

const byId = (id) => document.getElementById(id);
const [role, status, turns, empty, form, message, send] =
  ["role", "status", "turns", "empty", "say", "message", "send"].map(byId);
const MAX_ROWS = 300;
const PATIENCE_SECONDS = 300;

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.append(text);
  return made;
};
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

// ── the conversation on the page ────────────────────────────────────────────────────

class Page {
  clear() {
    turns.replaceChildren();
    byId("timing").replaceChildren();
    byId("patch").replaceChildren();
    this.answers = new Map();
    this.told = new Map();
    this.count = 0;
    empty.hidden = false;
  }

  append(row) {
    const atEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80;
    turns.append(row);
    while (turns.children.length > MAX_ROWS) turns.firstChild.remove();
    empty.hidden = true;
    if (atEnd) turns.scrollTop = turns.scrollHeight;
    return row;
  }

  mine(text) { this.append(element("li", "mine", text)); turns.scrollTop = turns.scrollHeight; }
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

  follow() {
    if (turns.scrollHeight - turns.scrollTop - turns.clientHeight < 160) turns.scrollTop = turns.scrollHeight;
  }

  timing(event) {
    const { ttft_ms, hooks_ms, commit_ms, total_ms } = event.metrics;
    const row = element("tr");
    this.count += 1;
    for (const cell of [this.count, whole(ttft_ms), whole(hooks_ms), whole(commit_ms), whole(total_ms)]) {
      row.append(element("td", "", String(cell)));
    }
    byId("timing").prepend(row);
    while (byId("timing").children.length > 12) byId("timing").lastChild.remove();
  }

  state(event) {
    byId("version").textContent = event.scope === "user" ? `version ${event.version} of this person's` : `version ${event.version}`;
    const signs = { add: "=", replace: "=", incr: "+=", remove: "removed" };
    byId("patch").replaceChildren(...event.patch.slice(0, 8).map(({ op, path, value }) =>
      element("li", "", `${path.slice(1)} ${signs[op] ?? op} ${op === "remove" ? "" : JSON.stringify(value ?? null)}`)));
  }
}

const sentence = (error) => (error ? [error.message, error.hint].filter(Boolean).join(". ") : "the turn failed");
const page = new Page();

// ── the session ─────────────────────────────────────────────────────────────────────

class Talk {
  constructor(name, sessionId) {
    this.name = name;
    this.words = kept.read(`words.${sessionId}`) ?? {};
    this.onPage = new Set();
    this.waiting = null;
    page.clear();
    byId("session").textContent = sessionId;
    for (const field of ["revision", "seq", "version"]) byId(field).textContent = "–";
    show("connecting");
    this.session = connect(location.origin, name, { sessionId, afterSeq: 0, patience: PATIENCE_SECONDS });
    this.listen();
  }

  async listen() {
    for await (const event of this.session.events()) {
      if (this.ended) return;
      this.receive(event);
      byId("seq").textContent = String(this.session.seq ?? "–");
    }
  }

  drop() { this.session.reconnect(); }

  end() {
    this.ended = true;
    this.session.close();
  }

  say(text) {
    const messageId = id();
    this.words[messageId] = text;
    this.words = Object.fromEntries(Object.entries(this.words).slice(-200));
    kept.write(`words.${this.session.id}`, this.words);
    this.onPage.add(messageId);
    page.mine(text);
    this.waiting = messageId;
    form.toggleAttribute("data-busy", true);
    allow();
    this.session.say(text, { client_msg_id: messageId }).catch((error) => {
      if (this.ended) return;
      page.note(error.message, true);
      this.free(messageId);
    });
  }

  receive(event) {
    const act = {
      "session.created": () => this.created(event),
      "session.resumed": () => { if (event.gap) page.note("a part of this session's history is lost", true); },
      "response.created": () => { this.said(event); page.answer(event.response_id); },
      "response.output_text.delta": () => page.delta(event),
      "response.amended": () => page.amended(event),
      "response.reset": () => page.reset(event.response_id),
      "role.state.delta": () => page.state(event),
      "response.done": () => this.done(event),
      "role.revision": () => { byId("revision").textContent = event.to; page.note(`now ${event.to} answers`); },
      "client.lost": () => show("lost", "reconnecting"),
      "client.retry": () => this.retried(event),
      "client.ended": () => show("refused", sentence(event.error)),
    }[event.type];
    act?.();
  }

  created(event) {
    byId("revision").textContent = event.role;
    byId("version").textContent = `version ${event.version}`;
    if (event.greeting && !turns.children.length) page.append(element("li", "theirs", event.greeting));
    show("open");
  }

  /** The words that are answered, where they were said before this page was loaded. */
  said({ client_msg_id: messageId }) {
    const words = this.words[messageId];
    if (words === undefined || this.onPage.has(messageId)) return;
    this.onPage.add(messageId);
    page.mine(words);
  }

  retried({ error }) {
    if (this.trouble !== error.code) page.note(`${sentence(error)}; it is tried again`);
    this.trouble = error.code;
  }

  done(event) {
    if (event.status !== "failed") this.said(event);
    page.done(event);
    if (event.status === "failed") return;
    this.trouble = null;
    page.timing(event);
    if (event.revision) refresh();
    this.free(event.client_msg_id);
  }

  free(messageId) {
    if (this.waiting !== messageId) return;
    this.waiting = null;
    form.toggleAttribute("data-busy", false);
    allow();
  }
}

let talk = null;

function show(state, text = state) {
  status.dataset.state = state;
  status.textContent = text === "open" ? "connected" : text;
  allow();
}

function allow() {
  send.disabled = status.dataset.state !== "open" || form.hasAttribute("data-busy") || !message.value.trim();
}

function open(name, fresh = false) {
  talk?.end();
  form.toggleAttribute("data-busy", false);
  const known = kept.read(`session.${name}`);
  const sessionId = !fresh && known ? known : `play-${id()}`;
  kept.write(`session.${name}`, sessionId);
  kept.write("role", name);
  talk = new Talk(name, sessionId);
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
byId("fresh").addEventListener("click", () => { open(role.value, true); message.focus(); });
byId("reconnect").addEventListener("click", () => talk?.drop());
setInterval(() => { if (!document.hidden) refresh(); }, 4000);
refresh();
