// The playground: one Role, one session, one socket. No dependencies; text enters the page
// as text nodes only. A lost socket is taken up again with the same session, from the last
// event that was seen; the words that you said are kept on this machine only.

const byId = (id) => document.getElementById(id);
const [role, status, turns, empty, form, message, send] =
  ["role", "status", "turns", "empty", "say", "message", "send"].map(byId);
const MAX_ROWS = 300;
const RETRY_MS = [300, 700, 1500, 3000, 5000];

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
    const row = this.answer(event.response_id);
    const shown = [...row.textContent].length;
    if (event.offset + [...event.delta].length <= shown) return;
    row.append([...event.delta].slice(Math.max(0, shown - event.offset)).join(""));
    this.follow();
  }

  // Another gateway gives it anew, from its first word.
  reset(event) { this.answer(event.response_id).textContent = ""; }

  done(event) {
    if (event.status === "failed" && !event.message && !this.answers.has(event.response_id)) {
      this.note(sentence(event.error), true);
      return;
    }
    const row = this.answer(event.response_id);
    row.textContent = event.message;
    row.classList.remove("open");
    this.answers.delete(event.response_id);
    if (event.status === "failed") this.note(sentence(event.error), true);
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
    byId("version").textContent = `version ${event.version}`;
    const signs = { add: "=", replace: "=", incr: "+=", remove: "removed" };
    byId("patch").replaceChildren(...event.patch.slice(0, 8).map(({ op, path, value }) =>
      element("li", "", `${path.slice(1)} ${signs[op] ?? op} ${op === "remove" ? "" : JSON.stringify(value ?? null)}`)));
  }
}

const sentence = (error) => (error ? [error.message, error.hint].filter(Boolean).join(". ") : "the turn failed");
const page = new Page();

// ── the session ─────────────────────────────────────────────────────────────────────

class Session {
  constructor(name, sessionId) {
    this.name = name;
    this.id = sessionId;
    this.seen = 0;
    this.attempt = 0;
    this.words = kept.read(`words.${sessionId}`) ?? {};
    this.onPage = new Set();
    this.waiting = null;
    page.clear();
    byId("session").textContent = sessionId;
    for (const field of ["revision", "seq", "version"]) byId(field).textContent = "–";
    this.connect();
  }

  connect() {
    if (this.ended) return;
    show("connecting");
    const address = new URL(`/role/${encodeURIComponent(this.name)}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.searchParams.set("session_id", this.id);
    const socket = (this.socket = new WebSocket(address, "role.v1"));
    socket.onmessage = ({ data }) => socket === this.socket && this.receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => socket === this.socket && this.lost(code, reason);
  }

  drop() { this.socket.close(); }

  end() {
    this.ended = true;
    clearTimeout(this.retry);
    this.socket.onclose = this.socket.onmessage = null;
    this.socket.close();
  }

  lost(code, reason) {
    if (code >= 4400 && code < 4500 && code !== 4429) {
      show("refused", reason || `refused (${code})`);
      return;
    }
    show("lost", "reconnecting");
    this.retry = setTimeout(() => this.connect(), RETRY_MS[Math.min(this.attempt++, RETRY_MS.length - 1)]);
  }

  say(text) {
    const said = { message: text, session_id: this.id, client_msg_id: id() };
    this.words[said.client_msg_id] = text;
    this.words = Object.fromEntries(Object.entries(this.words).slice(-200));
    kept.write(`words.${this.id}`, this.words);
    this.onPage.add(said.client_msg_id);
    page.mine(text);
    this.waiting = said;
    this.send(said);
    form.toggleAttribute("data-busy", true);
    allow();
  }

  send(frame) { if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame)); }

  receive(event) {
    if (event.seq) {
      this.seen = Math.max(this.seen, event.seq);
      byId("seq").textContent = String(this.seen);
    }
    const act = {
      "session.created": () => this.created(event),
      "response.created": () => page.answer(event.response_id),
      "response.output_text.delta": () => page.delta(event),
      "response.reset": () => page.reset(event),
      "role.state.delta": () => page.state(event),
      "response.done": () => this.done(event),
      "role.revision": () => { byId("revision").textContent = event.to; page.note(`now ${event.to} answers`); },
      error: () => { page.note(sentence(event.error), true); this.free(); },
    }[event.type];
    act?.();
  }

  created(event) {
    this.attempt = 0;
    byId("revision").textContent = event.role;
    byId("version").textContent = `version ${event.version}`;
    byId("seq").textContent = String(event.head);
    if (event.greeting && !turns.children.length) page.append(element("li", "theirs", event.greeting));
    if (event.head > this.seen) this.send({ type: "session.resume", session_id: this.id, after_seq: this.seen });
    // A message without an answer is sent again under its id: a turn that was committed is only shown again.
    if (this.waiting) this.send(this.waiting);
    show("open");
  }

  done(event) {
    const said = this.words[event.client_msg_id];
    if (event.replay && event.seq && this.shown?.has(event.seq)) return;
    (this.shown ??= new Set()).add(event.seq);
    if (said !== undefined && !this.onPage.has(event.client_msg_id)) {
      this.onPage.add(event.client_msg_id);
      page.mine(said);
    }
    page.done(event);
    page.timing(event);
    if (event.revision) refresh();
    if (this.waiting?.client_msg_id === event.client_msg_id || !event.replay) this.free();
  }

  free() {
    this.waiting = null;
    form.toggleAttribute("data-busy", false);
    allow();
  }
}

let session = null;

function show(state, text = state) {
  status.dataset.state = state;
  status.textContent = text === "open" ? "connected" : text;
  allow();
}

function allow() {
  send.disabled = status.dataset.state !== "open" || form.hasAttribute("data-busy") || !message.value.trim();
}

function open(name, fresh = false) {
  session?.end();
  form.toggleAttribute("data-busy", false);
  const known = kept.read(`session.${name}`);
  const sessionId = !fresh && known ? known : `play-${id()}`;
  kept.write(`session.${name}`, sessionId);
  kept.write("role", name);
  session = new Session(name, sessionId);
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
  const chosen = session?.name ?? kept.read("role");
  role.replaceChildren(...roles.map(({ name, display_name, ready }) => {
    const option = element("option", "", ready ? display_name : `${display_name} (not ready)`);
    option.value = name;
    return option;
  }));
  role.disabled = roles.length === 0;
  const name = roles.some((one) => one.name === chosen) ? chosen : roles[0]?.name;
  if (!name) { show("refused", "no Role yet"); return; }
  role.value = name;
  if (session?.name !== name) open(name);
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
  session.say(text);
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
byId("reconnect").addEventListener("click", () => session?.drop());
setInterval(() => { if (!document.hidden) refresh(); }, 4000);
refresh();
