// rolehost.js: talk to a Role from a browser or Node 22 and newer, and let the library see to losses, moves and
// doubles. One file, no dependencies; every gateway serves it at /rolehost.js.
//
//     import { connect } from "https://roles.example.com/rolehost.js";
//     const session = connect("https://roles.example.com", "storyteller", { token });
//     const reply = await session.say("a story about a dragon");              // the whole answer
//     for await (const { text } of session.say("and then?")) print(text);     // or its pieces
//
// `Core` decides without socket, clock or timer; it is rolehost.client.core of the Python library written once more,
// and both run the same golden cases. `Session` is its shell.

/** @typedef {Record<string, any>} Frame A frame as it is on the wire, or an event of the library's, `client.*`. */
/** @typedef {{code: string, message: string, hint: string, retryable: boolean, retry_after_ms?: number}} Fault */
/**
 * @typedef {object} Reply A whole answer.
 * @property {string} text What the Role said; of a cancelled one only the part that was heard.
 * @property {"completed" | "cancelled"} status
 * @property {string} response_id
 * @property {number | null} seq Number of its event in the session's log.
 * @property {string} revision
 * @property {Record<string, number>} usage
 * @property {Record<string, number | null>} metrics Milliseconds.
 * @property {Array<{hook: string, code: string, where: string}>} degraded Hooks that the answer went on without.
 * @property {string} trace_id Of the turn's trace: what to name to whoever runs the platform. Empty where it traces nothing,
 *   and on replay.
 */
/**
 * @typedef {object} Delta A piece of an answer.
 * @property {string} text
 * @property {number} offset Code points of the answer that came before it.
 * @property {boolean} reset The answer was begun anew: whatever was shown before this piece is void.
 */

// ── frames ──────────────────────────────────────────────────────────────────────────

const SUBPROTOCOL = "role.v1";
const BEARER = "bearer.";
const MAX_MESSAGE_CHARS = 32768;
const MAX_MESSAGE_BYTES = 65536;
const DELTA = "response.output_text.delta";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const number = (frame, name) => (Number.isSafeInteger(frame[name]) && frame[name] >= 0 ? frame[name] : null);
const word = (frame, name) => (typeof frame[name] === "string" ? frame[name] : null);
const failure = (code, message, hint = "", retryable = false) => ({ code, message, hint, retryable });
const earliest = (times) => times.reduce((least, at) => (at !== null && (least === null || at < least) ? at : least), null);

/** Code points in a text, which is how offsets count. */
function length(text) {
  let count = 0;
  for (let at = 0; at < text.length; at += 1, count += 1) {
    if (text.codePointAt(at) > 0xffff) at += 1;
  }
  return count;
}

/** `count` code points of a text, from code point `start` on. */
function part(text, start, count = Infinity) {
  const points = Array.from(text);
  return points.slice(start, start + count).join("");
}

/** @returns {Frame | null} */
function read(text) {
  try {
    const frame = JSON.parse(text);
    return isObject(frame) && typeof frame.type === "string" ? frame : null;
  } catch {
    return null;
  }
}

/** The body of an error, with every field that others count on. @returns {Fault} */
function errorOf(frame) {
  const told = isObject(frame.error) ? frame.error : {};
  const made = failure(word(told, "code") || "internal", word(told, "message") ?? "", word(told, "hint") ?? "", told.retryable === true);
  const after = number(told, "retry_after_ms");
  return after === null ? made : { ...made, retry_after_ms: after };
}

// ── how long to wait, and what is final ─────────────────────────────────────────────

const MOVED_MS = 200;
const LOSS_MS = 100;
const LOAD_MS = 1000;
const CAP_MS = 10000;
const MOVED = 1012;
const UNAUTHORIZED = 4401;
const LOADED = [1013, 4409, 4429];
const FINAL_STATUS = [400, 401, 403, 404, 405, 426];
const CODES = { 4400: "bad_request", 4401: "unauthorized", 4403: "forbidden", 4404: "not_found" };

/** Decorrelated jitter: between `base` and three times the pause before. */
const nextPause = (draw, previous, base, cap) => Math.min(cap, Math.floor(base + draw * (3 * Math.max(base, previous) - base)));
const isFinal = (code) => code >= 4400 && code < 4500 && code !== 4409 && code !== 4429;

// ── whether the other end is alive ──────────────────────────────────────────────────

const MISSES = 3;
const URGENT_MS = 500;
const HEARTBEAT_MS = 5000;
const LEAST_MS = 100;
const MOST_MS = 60000;
const WEIGHT = 0.125;

class Pulse {
  rtt_ms = null;
  due = null;
  #base = HEARTBEAT_MS;
  #every = HEARTBEAT_MS;
  #waiting = false;
  #misses = 0;

  start(now, heartbeatMs) {
    this.#base = this.#every = Pulse.#bounded(heartbeatMs, HEARTBEAT_MS);
    this.alive();
    this.due = now + this.#every;
  }

  stop() { this.due = null; }

  urgent(now, isUrgent, heartbeatMs) {
    this.#every = isUrgent ? Pulse.#bounded(heartbeatMs, URGENT_MS) : this.#base;
    if (this.due !== null) this.due = isUrgent ? Math.min(this.due, now + this.#every) : now + this.#every;
  }

  paced(now, heartbeatMs) {
    const urgent = this.#every !== this.#base;
    this.#base = Pulse.#bounded(heartbeatMs, this.#base);
    if (urgent) return;
    this.#every = this.#base;
    if (this.due !== null) this.due = now + this.#every;
  }

  alive() { this.#waiting = false; this.#misses = 0; }

  /** The next ping is due; false: enough of them were not answered. */
  beat(now) {
    this.#misses += this.#waiting ? 1 : 0;
    if (this.#misses >= MISSES) return false;
    this.#waiting = true;
    this.due = now + this.#every;
    return true;
  }

  pong(now, sent) {
    if (!Number.isSafeInteger(sent) || now - sent < 0 || now - sent > MOST_MS) return;
    this.rtt_ms = this.rtt_ms === null ? now - sent : this.rtt_ms + WEIGHT * (now - sent - this.rtt_ms);
  }

  static #bounded(told, otherwise) {
    return Number.isSafeInteger(told) ? Math.min(MOST_MS, Math.max(LEAST_MS, told)) : otherwise;
  }
}

// ── what was shown ──────────────────────────────────────────────────────────────────

const MAX_TEXT = 1 << 20;
const MAX_OPEN = 8;
const MAX_ENDED = 256;

class Text {
  length = 0;
  stale = false;

  constructor(responseId, messageId) { this.response_id = responseId; this.client_msg_id = messageId; }

  /** What of a delta is new; null: something before it never came. */
  add(offset, delta) {
    this.stale = false;
    if (this.length >= MAX_TEXT) return "";
    if (offset > this.length) return null;
    const added = part(delta, this.length - offset, MAX_TEXT - this.length);
    this.length += length(added);
    return added;
  }

  clear() { this.length = 0; }
}

class Texts {
  open = new Map();
  #ended = [];
  #void = [];

  ended(responseId) { return this.#ended.includes(responseId); }
  over(responseId) { return this.ended(responseId) || this.#void.includes(responseId); }

  begin(responseId, messageId) {
    const known = this.open.get(responseId);
    if (known) {
      known.stale = false;
      known.client_msg_id ||= messageId;
      return [known, false];
    }
    while (this.open.size >= MAX_OPEN) this.open.delete(this.open.keys().next().value);
    const made = new Text(responseId, messageId);
    this.open.set(responseId, made);
    return [made, true];
  }

  outdated(responseId, messageId, begun) {
    const gone = [...this.open.values()].filter((text) =>
      text.response_id !== responseId && ((begun && text.stale) || (messageId !== null && text.client_msg_id === messageId)));
    for (const text of gone) {
      this.open.delete(text.response_id);
      Texts.#keep(this.#void, text.response_id);
    }
    return gone;
  }

  end(responseId, durable) {
    this.open.delete(responseId);
    if (durable) Texts.#keep(this.#ended, responseId);
  }

  lost() { for (const text of this.open.values()) text.stale = true; }

  static #keep(ids, id) {
    ids.push(id);
    if (ids.length > MAX_ENDED) ids.shift();
  }
}

// ── what was said and is not answered ───────────────────────────────────────────────

const MAX_WAITING = 64;
const SILENCE_MS = 330000;
const GRACE_MS = 15000;
const RETRY_MS = 200;
const RETRY_CAP_MS = 5000;
const EAGER = ["interrupt", "reject", "steer"];
const CANNOT_BE_ANSWERED = ["unknown_type"];

class Say {
  sent = false;
  atLarge = false;
  response_id = null;
  joined = null; // the response to another message that it was joined to: `busy_policy` steer
  retryAt = 0;
  pause = 0;
  cancel = null;
  error = null;

  constructor(frame, deadline) { this.frame = frame; this.deadline = deadline; this.latest = deadline + SILENCE_MS; }

  get id() { return this.frame.client_msg_id; }
  get eager() { return EAGER.includes(this.frame.busy_policy); }
  get end() { return this.sent ? this.latest : this.deadline; }

  postpone(now, draw, error) {
    this.pause = nextPause(draw, this.pause, RETRY_MS, RETRY_CAP_MS);
    this.retryAt = now + Math.max(this.pause, number(error, "retry_after_ms") ?? 0);
    this.sent = this.atLarge = false;
    this.response_id = this.joined = null;
    this.error = error;
    const rejected = this.frame.busy_policy === "reject" && error.code === "busy";
    return this.retryAt < this.deadline && !rejected;
  }
}

class Says {
  waiting = new Map();

  all() { return [...this.waiting.values()]; }
  of(messageId) { return (typeof messageId === "string" && this.waiting.get(messageId)) || null; }
  pop(say) { this.waiting.delete(say.id); }
  anySent() { return this.all().some((say) => say.sent); }

  add(now, frame, patienceMs) {
    const say = new Say(frame, now + patienceMs);
    this.waiting.set(say.id, say);
    return say;
  }

  lost(now) {
    for (const say of this.waiting.values()) {
      if (!say.sent) continue;
      say.sent = false;
      say.response_id = null;
      say.deadline = Math.min(say.latest, Math.max(say.deadline, now + GRACE_MS));
    }
  }

  #next() {
    const first = this.anySent() ? null : this.all()[0];
    return this.all().filter((say) => !say.sent && (say === first || say.eager));
  }

  sendable(now) { return this.#next().filter((say) => say.retryAt <= now); }

  /** Whom an error without a response is about: whom it names, else the oldest that was sent and has none. */
  blamed(frame) {
    if (word(frame, "client_msg_id") !== null) return this.of(frame.client_msg_id);
    return word(frame, "response_id") === null ? this.unanswered() : null;
  }

  unanswered(policy = null) {
    return this.all().find((say) => say.sent && say.response_id === null && (policy === null || say.frame.busy_policy === policy)) ?? null;
  }

  joinedTo(responseId) { return this.all().filter((say) => say.joined === responseId); }
  expired(now) { return this.all().filter((say) => now >= say.end); }
  due(ready) { return [...this.all().map((say) => say.end), ...(ready ? this.#next().map((say) => say.retryAt) : [])]; }
}

// ── the state as far as it is known ─────────────────────────────────────────────────

const MAX_PATCH = 1000;
const MAX_DEPTH = 32;

class Misfit extends Error {}

class Known {
  version = 0;
  values = null;

  joined(frame, whole) {
    this.version = whole ? 0 : number(frame, "version") ?? 0;
    this.values = this.version === 0 ? {} : null;
  }

  forget() { this.version = 0; this.values = {}; }

  patched(frame) {
    const version = number(frame, "version");
    if (version === null || version <= this.version) return;
    const follows = version === this.version + 1;
    this.version = version;
    this.values = this.values !== null && follows ? applied(this.values, frame.patch) : null;
  }

  whole(frame) {
    const version = number(frame, "version");
    if (version === null || !isObject(frame.state)) return false;
    if (version < this.version || (version === this.version && this.values !== null)) return false;
    this.version = version;
    this.values = frame.state;
    return true;
  }
}

/** State that the person's other sessions change too: where they did, the whole of it is told. */
class KnownShared extends Known {
  values = {};

  patched(frame) {
    const version = number(frame, "version");
    if (version === null || version < this.version || (version === this.version && this.values !== null)) return;
    const follows = version === this.version + 1;
    const [first] = Array.isArray(frame.patch) ? frame.patch : [];
    const whole = frame.patch?.length === 1 && first?.op === "replace" && first.path === "";
    this.version = version;
    if (whole) this.values = isObject(first.value) ? first.value : null;
    else this.values = this.values !== null && follows ? applied(this.values, frame.patch, joined) : null;
  }
}

/** One change of a Set, an object of its elements; anything else as it always is. */
function joined(state, operation) {
  const [, field, element, ...more] = (isObject(operation) && typeof operation.path === "string" ? operation.path : "").split("/");
  if (element === undefined || more.length) return perform(state, operation);
  const name = field.replaceAll("~1", "/").replaceAll("~0", "~");
  const there = Object.hasOwn(state, name) && isObject(state[name]);
  if (operation.op === "remove" && !(there && Object.hasOwn(state[name], element.replaceAll("~1", "/").replaceAll("~0", "~")))) return;
  if (!there) perform(state, { op: "add", path: `/${field}`, value: {} });
  perform(state, operation);
}

/** The state after a patch; null where the patch does not fit it. */
function applied(state, patch, perform_ = perform) {
  if (!Array.isArray(patch) || patch.length > MAX_PATCH) return null;
  try {
    const folded = structuredClone(state);
    for (const operation of patch) perform_(folded, operation);
    return folded;
  } catch (misfit) {
    if (misfit instanceof Misfit) return null;
    throw misfit;
  }
}

function perform(state, operation) {
  const { op, path } = isObject(operation) ? operation : {};
  if (!["add", "replace", "remove", "incr"].includes(op) || typeof path !== "string" || path[0] !== "/") throw new Misfit();
  const tokens = path.slice(1).split("/").map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (tokens.length > MAX_DEPTH) throw new Misfit();
  const last = tokens.pop();
  const holder = tokens.reduce((here, token) => {
    if (Array.isArray(here)) return here[index(token, here.length)];
    if (isObject(here) && Object.hasOwn(here, token)) return here[token];
    throw new Misfit();
  }, state);
  const value = structuredClone(operation.value ?? null);
  if (Array.isArray(holder)) inList(holder, last, op, value);
  else if (isObject(holder)) inObject(holder, last, op, value);
  else throw new Misfit();
}

function inObject(holder, key, op, value) {
  const known = Object.hasOwn(holder, key);
  if (!known && op !== "add" && op !== "incr") throw new Misfit();
  if (op === "remove") delete holder[key];
  // defineProperty: `__proto__` is a member like any other.
  else Object.defineProperty(holder, key, {
    value: op === "incr" ? sum(known ? holder[key] : 0, value) : value, configurable: true, enumerable: true, writable: true,
  });
}

function inList(holder, token, op, value) {
  if (op === "add") {
    holder.splice(token === "-" ? holder.length : index(token, holder.length + 1), 0, value);
    return;
  }
  const place = index(token, holder.length);
  if (op === "remove") holder.splice(place, 1);
  else holder[place] = op === "incr" ? sum(holder[place], value) : value;
}

function index(token, count) {
  if (!/^(0|[1-9]\d{0,6})$/.test(token) || Number(token) >= count) throw new Misfit();
  return Number(token);
}

function sum(before, by) {
  if (typeof before !== "number" || typeof by !== "number" || !Number.isFinite(before + by)) throw new Misfit();
  return before + by;
}

// ── events that nobody has read yet ─────────────────────────────────────────────────

const MAX_EVENTS = 1024;
const MAX_WEIGHT = 1 << 20;
const OVERHEAD = 128;

class Backlog {
  open = false;
  #held = [];
  #weight = 0;

  constructor(maxEvents) { this.most = maxEvents; }

  get full() { return this.#held.length >= this.most || this.#weight >= MAX_WEIGHT; }
  get roomy() { return 2 * this.#held.length <= this.most && 2 * this.#weight <= MAX_WEIGHT; }

  put(event, weight) {
    if (!this.open) return;
    const last = this.#held.at(-1);
    if (last?.deltas && event.type === DELTA && event.response_id === last.event.response_id) {
      last.deltas.push(event.delta);
      last.weight += weight;
    } else {
      weight += OVERHEAD;
      this.#held.push({ event, weight, deltas: event.type === DELTA ? [event.delta] : null });
    }
    this.#weight += weight;
  }

  shut() {
    this.open = false;
    this.#held = [];
    this.#weight = 0;
  }

  take() {
    const held = this.#held.shift();
    if (!held) return null;
    this.#weight -= held.weight;
    return held.deltas ? { ...held.event, delta: held.deltas.join("") } : held.event;
  }
}

// ── a degraded channel ──────────────────────────────────────────────────────────────

const POLL_MS = 1000;
const MAX_PATH = 2048;

/** What to poll, of the same host only: whoever polls shows a key. */
function pathOf(frame) {
  const path = (word(frame, "poll") ?? "").split("?")[0];
  const plain = path.startsWith("/v1/") && path.length <= MAX_PATH && /^[\x21-\x7e]+$/.test(path) && !/[\\#]|\.\./.test(path);
  return plain && (word(frame, "mode") ?? "").includes("poll") ? path : null;
}

class Polling {
  due = null;
  #path = null;
  #every = POLL_MS;

  told(now, frame) {
    const before = this.#path;
    this.#path = pathOf(frame);
    this.#every = Math.min(MOST_MS, Math.max(LEAST_MS, number(frame, "poll_ms") || POLL_MS));
    if (this.#path === null) this.due = null;
    else if (before === null) this.due = now;
  }

  stop() { this.#path = this.due = null; }

  next(now, version, user = null) {
    if (this.#path === null || this.due === null || now < this.due) return null;
    this.due = null;
    return `${this.#path}?${new URLSearchParams({ after_version: version, ...(user === null ? {} : { user }) })}`;
  }

  answered(now) { if (this.#path !== null) this.due = now + this.#every; }
}

// ── the core ────────────────────────────────────────────────────────────────────────

const OPEN_MS = 20000;
const RESUME_MS = 10000;
const STEADY_MS = 1000;
const PATIENCE_MS = 60000;
const GONE = 1006;
const OPENED = ["opening", "resuming", "ready"];
const NOT_ANSWERED = failure("not_answered", "no answer came in time", "Say it again with the same client_msg_id: it is answered once", true);
const UNREACHABLE = failure("unreachable", "the gateway could not be reached in time", "", true);
const CLOSED = failure("closed", "the session was closed");

/**
 * One session, without socket, clock or timer. What happened goes in, each with `now` in milliseconds of a clock that
 * never goes back; what is to be done is left in `out`: {connect}, {send}, {close}, {poll}, {tell}.
 */
export class Core {
  /**
   * @param {string} sessionId
   * @param {() => number} draw Random numbers in [0, 1).
   * @param {{after_seq?: number | null, user?: string | null, renewable?: boolean, max_events?: number, guest?: string | null}}
   *   options `guest`: the Role of a session that speaks over another one's connection.
   */
  constructor(sessionId, draw, { after_seq = null, user = null, renewable = false, max_events = MAX_EVENTS, guest = null } = {}) {
    this.session_id = sessionId;
    this.out = [];
    this.phase = "waiting";
    this.backlog = new Backlog(max_events);
    this.pulse = new Pulse();
    this.known = new Known();
    this.shared = new KnownShared();
    /** The last `session.created`. @type {Frame | null} */
    this.greeted = null;
    /** Why it ended. @type {Fault | null} */
    this.error = null;
    /** Number of the last event that was told; null: the next one, whatever it is. */
    this.last = after_seq;
    this.draw = draw;
    this.user = user;
    this.renewable = renewable;
    /** The Role that a guest was asked for as, what the server calls it, and whom it turned out to be. */
    this.guest = guest;
    this.knownAs = this.sameAs = null;
    /** The last error that was told, since the session was opened last. @type {Fault | null} */
    this.trouble = null;
    this.says = new Says();
    this.texts = new Texts();
    this.polling = new Polling();
    this.connectAt = this.by = this.stoodSince = this.told = this.leaveAt = this.movingMs = this.replayTo = null;
    this.holeAt = undefined;
    this.pause = 0;
    this.weight = 0;
  }

  // from the user

  start(now) { this.connectAt = now; this.tick(now); }

  /** It ends with `response.done`, `client.cancelled` or `client.failed` of this id. Throws RoleError. */
  say(now, message, messageId, { patience_ms = PATIENCE_MS, ...more } = {}) {
    const given = Object.entries(more).filter(([, value]) => value !== undefined && value !== null);
    const frame = {
      type: "message", message, session_id: this.session_id, client_msg_id: messageId,
      ...(this.user === null ? {} : { user: this.user }), ...Object.fromEntries(given),
    };
    if (length(message) > MAX_MESSAGE_CHARS || new TextEncoder().encode(JSON.stringify(frame)).length > MAX_MESSAGE_BYTES) {
      throw new RoleError(failure("message_too_large", "the message is too long", `At most ${MAX_MESSAGE_CHARS} characters and ${MAX_MESSAGE_BYTES} bytes`));
    }
    if (this.says.of(messageId)) throw new RoleError(failure("said_already", "a message with this client_msg_id waits already"));
    if (this.says.waiting.size >= MAX_WAITING) {
      throw new RoleError(failure("busy", `${MAX_WAITING} messages wait for their answers already`, "", true));
    }
    const say = this.says.add(now, frame, patience_ms);
    if (this.phase === "ended") this.#fail(say, this.error ?? CLOSED);
    this.#flush(now);
  }

  /** End an answer early: that of a message, else the oldest that is waited for, else whatever is being said. */
  cancel(now, messageId = null, heard = null) {
    const say = messageId ? this.says.of(messageId) : this.says.all()[0] ?? null;
    if (!say) {
      const text = [...this.texts.open.values()].find((one) => !one.stale);
      if (text && !messageId && this.phase === "ready") this.#sendCancel(text.response_id, heard ?? {});
      return;
    }
    say.cancel = heard ?? {};
    if (!say.atLarge) {
      this.says.pop(say);
      this.#tell({ type: "client.cancelled", client_msg_id: say.id });
      this.#flush(now);
    } else if (say.response_id !== null && say.sent) {
      this.#sendCancel(say.response_id, say.cancel);
    }
  }

  /** Somebody reads events from now on, by `take`. */
  listen() { this.backlog.open = true; }

  /** Nobody reads events any more. */
  unlisten(now) {
    this.backlog.shut();
    this.take(now);
  }

  take(now) {
    const event = this.backlog.take();
    if (this.phase === "stalled" && this.backlog.roomy) {
      this.phase = "waiting";
      this.connectAt = now;
      this.tick(now);
    }
    return event;
  }

  // of a connection that several share

  /** The session is open on a connection, and is not about to leave it. */
  get stands() { return ["resuming", "ready"].includes(this.phase) && this.leaveAt === null; }
  /** There is nothing to connect over so far, however long that takes. */
  hold() { if (this.phase === "connecting") this.by = null; }

  /** There is something to connect over: try now. */
  call(now) {
    if (this.phase !== "waiting") return;
    this.connectAt = now;
    this.tick(now);
  }

  drop(now, reason) { if (!["waiting", "stalled", "ended"].includes(this.phase)) this.#drop(now, GONE, reason); }

  /** It cannot be spoken to over this connection: try again later, or never. */
  refused(now, error) {
    this.told = this.trouble = error;
    if (error.retryable) this.lost(now, GONE, error.code);
    else this.giveUp(error);
  }

  giveUp(error) { if (this.phase !== "ended") this.#end(error); }
  close() { if (this.phase !== "ended") this.#end(CLOSED, false); }

  // from the world

  due() {
    if (this.phase === "ended") return null;
    const leaving = this.says.anySent() ? null : this.leaveAt;
    const ready = this.phase === "ready" && this.leaveAt === null;
    return earliest([this.connectAt, this.by, this.pulse.due, this.polling.due, leaving, ...this.says.due(ready)]);
  }

  tick(now) {
    if (this.phase === "ended") return;
    if (this.connectAt !== null && now >= this.connectAt) {
      this.connectAt = null;
      this.phase = "connecting";
      this.by = now + OPEN_MS;
      this.out.push({ connect: true });
    }
    if (this.by !== null && now >= this.by) this.#drop(now, GONE, "nothing came for too long");
    if (this.pulse.due !== null && now >= this.pulse.due) {
      if (this.pulse.beat(now)) this.#send({ type: "ping", t: Math.floor(now) });
      else this.#drop(now, GONE, "no sign of life");
    }
    if (this.leaveAt !== null && now >= this.leaveAt && !this.says.anySent()) this.#drop(now, MOVED, "moved");
    for (const say of this.says.expired(now)) {
      const away = this.stoodSince === null && !say.atLarge;
      this.#fail(say, say.error ?? (away ? UNREACHABLE : NOT_ANSWERED));
    }
    const path = this.polling.next(now, this.known.version, this.user);
    if (path !== null) this.out.push({ poll: path });
    this.#flush(now);
  }

  opened(now) {
    if (this.phase !== "connecting") return;
    this.phase = "opening";
    this.by = now + OPEN_MS;
  }

  lost(now, code = GONE, reason = "", status = 0) {
    if (["waiting", "stalled", "ended"].includes(this.phase)) return;
    const forgiven = this.told?.retryable === true || (code === UNAUTHORIZED && this.renewable && this.stoodSince !== null);
    if (isFinal(code) && !forgiven) {
      this.#end(this.told ?? failure(CODES[code] ?? "refused", reason || `the connection was closed (${code})`));
    } else if (FINAL_STATUS.includes(status) && this.greeted === null) {
      this.#end(failure("no_gateway", `what is asked for a socket answers HTTP ${status}`, "Check the address"));
    } else {
      this.#lost(now, code, reason);
    }
  }

  /** A frame of this session's; `weight`: characters that it was. */
  hear(now, frame, weight) {
    if (!OPENED.includes(this.phase)) return;
    this.pulse.alive();
    this.weight = weight;
    if (frame.type !== "error") this.told = null;
    const on = Object.hasOwn(Core.#handlers, frame.type) ? Core.#handlers[frame.type] : null;
    if (on !== null) {
      on(this, now, frame);
    } else if (this.#numbered(now, frame)) {
      this.#tell(frame);
      this.#progress(now);
    }
    if (this.backlog.full && this.phase !== "ended") {
      this.#drop(now, GONE, "events are not read");
      this.phase = "stalled";
      this.connectAt = null;
    }
  }

  polled(now, answer) {
    this.polling.answered(now);
    if (isObject(answer) && this.known.whole(answer)) this.#tell({ type: "client.state", version: this.known.version });
  }

  // the connection

  #created(now, frame) {
    if (this.phase !== "opening") return;
    const first = this.greeted === null;
    this.greeted = frame;
    this.stoodSince = now;
    this.by = this.trouble = null;
    if (this.guest === null) this.pulse.start(now, frame.heartbeat_ms);
    if (first) this.known.joined(frame, this.last === 0);
    const anew = this.last === null;
    if (anew) this.last = number(frame, "head") ?? 0;
    this.#tell(frame);
    if (anew) this.#ready(now);
    else this.#resume(now);
  }

  #resume(now) {
    this.phase = "resuming";
    this.by = now + RESUME_MS;
    this.replayTo = null;
    this.#send({ type: "session.resume", session_id: this.session_id, after_seq: this.last ?? 0, after_version: this.known.version });
  }

  #resumed(now, frame) {
    if (this.phase !== "resuming") return;
    if (frame.gap === true) {
      const start = number(frame, "from_seq");
      this.last = start ? start - 1 : null;
      this.known.forget();
    }
    this.replayTo = number(frame, "to_seq") ?? 0;
    this.#tell(frame);
    this.#progress(now);
  }

  #snapshot(now, frame) {
    this.known.whole(frame);
    const at = number(frame, "at_seq");
    if (at !== null && at > (this.last ?? 0)) this.last = at;
    this.#tell(frame);
    if (this.phase === "ready") { // this end read too slowly: among what was left out may be an answer
      this.says.lost(now);
      this.texts.lost();
      this.#flush(now);
    }
    this.#progress(now);
  }

  #progress(now) {
    if (this.phase !== "resuming") return;
    this.by = now + RESUME_MS;
    if (this.replayTo !== null && (this.last === null || this.last >= this.replayTo)) this.#ready(now);
  }

  #ready(now) {
    this.phase = "ready";
    this.by = null;
    this.#flush(now);
  }

  /** Whether an event is the next one. Of those that are not, the old are dropped and the early asked for. */
  #numbered(now, frame) {
    const seq = number(frame, "seq");
    if (seq === null) return true;
    if (this.last === null || seq === this.last + 1) {
      this.last = seq;
      return true;
    }
    if (seq > this.last && this.phase === "ready") this.#gap(now);
    return false;
  }

  #gap(now) {
    if (this.holeAt === this.last) {
      this.#drop(now, GONE, "events are missing");
    } else {
      this.holeAt = this.last;
      this.#resume(now);
    }
  }

  #migrate(now, frame) {
    this.movingMs = number(frame, "reconnect_after_ms") ?? 0;
    this.leaveAt = now + Math.floor(this.draw() * this.movingMs);
    this.#tell(frame);
  }

  #drop(now, code, reason) {
    this.out.push({ close: 1000 });
    this.#lost(now, code, reason);
  }

  #lost(now, code, reason) {
    const steady = this.stoodSince !== null && now - this.stoodSince >= STEADY_MS;
    const pause = this.#pauseAfter(now, code, steady);
    this.phase = "waiting";
    this.connectAt = now + pause;
    this.by = this.stoodSince = this.told = this.leaveAt = this.movingMs = null;
    this.pulse.stop();
    this.polling.stop();
    this.says.lost(now);
    this.texts.lost();
    this.weight = 0;
    this.#tell({ type: "client.lost", code, reason, retry_ms: pause });
  }

  #pauseAfter(now, code, steady) {
    if (steady) this.pause = 0;
    if (steady && this.leaveAt !== null) return Math.max(0, Math.floor(this.leaveAt - now));
    if (steady && code === MOVED) return Math.floor(this.draw() * MOVED_MS);
    const loaded = LOADED.includes(code) || this.told !== null;
    this.pause = nextPause(this.draw(), this.pause, loaded ? LOAD_MS : LOSS_MS, CAP_MS);
    return Math.max(this.pause, Math.min(number(this.told ?? {}, "retry_after_ms") ?? 0, MOST_MS));
  }

  #end(error, told = true) {
    this.out.push({ close: 1000 });
    this.phase = "ended";
    this.error = error;
    this.connectAt = this.by = this.leaveAt = null;
    this.pulse.stop();
    this.polling.stop();
    for (const say of this.says.all()) this.#fail(say, error);
    if (told) this.#tell({ type: "client.ended", error });
  }

  // answers

  #began(now, frame) {
    const responseId = word(frame, "response_id");
    const messageId = word(frame, "client_msg_id");
    if (responseId === null || this.texts.over(responseId)) return;
    this.#replaced(responseId, messageId, true);
    const [text, isNew] = this.texts.begin(responseId, messageId);
    const say = this.says.of(messageId);
    if (say) {
      say.response_id = responseId;
      say.atLarge = true;
      say.joined = text.client_msg_id !== messageId ? responseId : null;
      if (say.cancel !== null) this.#sendCancel(responseId, say.cancel);
    }
    if (isNew) this.#tell(frame);
  }

  #delta(now, frame) {
    const responseId = word(frame, "response_id");
    const offset = number(frame, "offset");
    const delta = word(frame, "delta");
    if (responseId === null || offset === null || delta === null || this.texts.over(responseId)) return;
    let text = this.texts.open.get(responseId) ?? null;
    if (text === null && offset === 0) {
      this.#replaced(responseId, null, true);
      [text] = this.texts.begin(responseId, null);
    }
    const at = text?.length;
    const added = text?.add(offset, delta) ?? null;
    if (added === null) {
      // On one connection nothing is missing but by a fault of the other end; a fresh one is told from the start.
      this.#drop(now, GONE, "a piece of an answer is missing");
    } else if (added) {
      const whose = text.client_msg_id === null ? {} : { client_msg_id: text.client_msg_id };
      this.#tell({ ...frame, ...whose, offset: at, delta: added });
    }
  }

  #reset(now, frame) {
    const text = this.texts.open.get(word(frame, "response_id") ?? "");
    if (text) this.#clear(text);
  }

  #clear(text) {
    if (text.length) this.#tell({ type: "response.reset", response_id: text.response_id, client_msg_id: text.client_msg_id });
    text.clear();
  }

  #replaced(responseId, messageId, begun) {
    for (const text of this.texts.outdated(responseId, messageId, begun)) this.#clear(text);
  }

  #done(now, frame) {
    const responseId = word(frame, "response_id") ?? "";
    const messageId = word(frame, "client_msg_id");
    const say = this.says.of(messageId);
    const seq = number(frame, "seq");
    if (frame.status === "failed" && seq === null) {
      this.#failed(now, frame, responseId, say);
      return;
    }
    const seen = this.texts.ended(responseId);
    const last = this.last;
    const nextOne = this.#numbered(now, frame);
    const early = !nextOne && last !== null && (seq ?? 0) > last;
    if (!early && (say || (nextOne && !seen))) {
      this.#replaced(responseId, messageId, false);
      this.texts.end(responseId, true);
      if (say) this.says.pop(say);
      this.#tell(frame);
    } else if (!early && !nextOne && frame.replay === true) {
      const asks = this.says.unanswered("steer");
      if (asks) asks.joined = responseId; // nothing old is told but to who asks again
    }
    for (const joined of early ? [] : this.says.joinedTo(responseId)) {
      this.says.pop(joined);
      this.#tell({ type: "client.joined", client_msg_id: joined.id, response: frame });
    }
    this.#progress(now);
    this.#flush(now);
  }

  #failed(now, frame, responseId, say) {
    const text = this.texts.open.get(responseId);
    if (text) this.#clear(text);
    this.texts.end(responseId, false);
    this.#tell(frame);
    for (const one of [...(say ? [say] : []), ...this.says.joinedTo(responseId)]) this.#retry(now, one, errorOf(frame));
  }

  #stateChanged(now, frame) {
    if (!this.#numbered(now, frame)) return;
    (frame.scope === "user" ? this.shared : this.known).patched(frame);
    this.#tell(frame);
    this.#progress(now);
  }

  #error(now, frame) {
    const error = (this.told = this.trouble = errorOf(frame));
    this.#tell(frame);
    const aboutACancel = word(frame, "response_id") !== null && word(frame, "client_msg_id") === null;
    if (CANNOT_BE_ANSWERED.includes(error.code) || aboutACancel) return;
    const say = this.says.blamed(frame);
    if (say) this.#retry(now, say, error);
    else if (this.phase === "opening" || this.phase === "resuming") {
      if (error.retryable) this.#drop(now, GONE, error.code);
      else this.#end(error);
    }
  }

  #retry(now, say, error) {
    if (error.retryable && say.cancel === null && say.postpone(now, this.draw(), error)) {
      this.#tell({ type: "client.retry", client_msg_id: say.id, error, retry_ms: Math.floor(say.retryAt - now) });
    } else if (say.cancel !== null) {
      this.says.pop(say);
      this.#tell({ type: "client.cancelled", client_msg_id: say.id });
    } else {
      this.#fail(say, error);
    }
    this.#flush(now);
  }

  #fail(say, error) {
    this.says.pop(say);
    this.#tell({ type: "client.failed", client_msg_id: say.id, error });
  }

  #flush(now) {
    if (this.phase !== "ready" || this.leaveAt !== null) return;
    for (const say of this.says.sendable(now)) {
      say.sent = say.atLarge = true;
      this.#send(say.frame);
    }
  }

  // the channel

  #urgent(now, frame) {
    this.pulse.urgent(now, frame.is_urgent === true, frame.heartbeat_ms);
    this.#tell(frame);
  }

  #degraded(now, frame) {
    this.polling.told(now, frame);
    this.#tell(frame);
  }

  #sendCancel(responseId, heard) {
    const what = Object.keys(heard).length ? { heard } : {};
    this.#send({ type: "response.cancel", session_id: this.session_id, response_id: responseId, ...what });
  }

  #send(frame) { this.out.push({ send: frame }); }

  #tell(event) {
    this.out.push({ tell: event });
    this.backlog.put(event, this.weight);
  }

  static #handlers = {
    "session.created": (core, now, frame) => core.#created(now, frame),
    "session.resumed": (core, now, frame) => core.#resumed(now, frame),
    "session.snapshot": (core, now, frame) => core.#snapshot(now, frame),
    "session.migrate": (core, now, frame) => core.#migrate(now, frame),
    "response.created": (core, now, frame) => core.#began(now, frame),
    [DELTA]: (core, now, frame) => core.#delta(now, frame),
    "response.reset": (core, now, frame) => core.#reset(now, frame),
    "response.done": (core, now, frame) => core.#done(now, frame),
    "role.state.delta": (core, now, frame) => core.#stateChanged(now, frame),
    error: (core, now, frame) => core.#error(now, frame),
    pong: (core, now, frame) => core.pulse.pong(now, frame.t),
    "session.updated": (core, now, frame) => { core.pulse.paced(now, frame.heartbeat_ms); core.#tell(frame); },
    "channel.urgent": (core, now, frame) => core.#urgent(now, frame),
    "channel.degraded": (core, now, frame) => core.#degraded(now, frame),
  };
}

// ── several sessions on one socket ──────────────────────────────────────────────────

const MAX_SESSIONS = 32;
const MAX_ROLE_CHARS = 512;
const TURN_MS = 10000;
const TURN_AGAIN_MS = 200;
const HOME = "";

/** Role and user by which a server tells events apart, as one word, empty at home; and the session_id. */
const keyOf = (of, sessionId) => ({
  at: ["role", "user"].map((name) => word(isObject(of) ? of : {}, name) ?? "").join(" ").trim(), id: String(sessionId),
});
const same = (one, other) => one !== null && one.at === other.at && one.id === other.id;

/**
 * Whose a frame is, and which Role the socket speaks to; as rolehost.client.switchboard. `home` is the session of the
 * socket, with the Role `role`; every other one is a guest: a core whose connection is a `session.switch` that was
 * answered. Frames wait for the Role that they are for, so that none is ever said to another one.
 */
export class Switchboard {
  #role;
  #draw;
  #guests = [];
  #at = HOME;
  #unsent = []; // {core, frame}; without a frame it is to be opened
  #turning = null;
  #turnBy = null;
  #turnAt = null;
  #greetings = new Map(); // `session.created` of every guest that this socket ever had: the server says it once
  #urgent = new Map();
  #blamed = null;
  #stood = false;

  constructor(home, role, draw) { this.home = home; this.#role = role; this.#draw = draw; }

  get cores() { return [this.home, ...this.#guests]; }

  // from the user

  /** The session with that Role; look at its phase, and at `sameAs`. Throws RoleError where there are too many. */
  switch(now, role, sessionId, { after_seq = null } = {}) {
    if (typeof role !== "string" || role.length < 1 || role.length > MAX_ROLE_CHARS) throw new RoleError(failure("invalid_role_name", "that is no Role's name"));
    if (role === this.#role && sessionId === this.home.session_id) return this.home;
    const known = this.#guests.find((one) => one.guest === role && one.session_id === sessionId);
    if (known) return known;
    const guest = new Core(sessionId, this.#draw, { after_seq, user: this.home.user, max_events: this.home.backlog.most, guest: role });
    if (this.home.phase === "ended") {
      guest.giveUp(this.home.error ?? CLOSED);
    } else if (1 + this.#greetings.size + this.#guests.filter((one) => !this.#greetings.has(JSON.stringify(one.knownAs))).length >= MAX_SESSIONS) {
      throw new RoleError(failure("busy", `${MAX_SESSIONS} sessions were on this socket already`, "Connect anew", true));
    } else {
      this.#guests.push(guest);
      guest.start(now);
    }
    return guest;
  }

  // from the world

  due() {
    const waits = this.#unsent.length && this.#turning === null ? this.#turnAt : null;
    return earliest([...this.cores.map((core) => core.due()), this.#turnBy, waits]);
  }

  tick(now) {
    if (this.#turnBy !== null && now >= this.#turnBy) {
      this.#turnBy = null;
      this.home.drop(now, "a switch was not answered");
    }
    if (this.#turnAt !== null && now >= this.#turnAt) this.#turnAt = null;
    for (const core of this.cores) core.tick(now);
  }

  opened(now) {
    this.#at = HOME;
    this.#blamed = null;
    this.home.opened(now);
  }

  /** What the server said of a guest before it closed is that guest's end, not everybody's. */
  lost(now, code = GONE, reason = "", status = 0) {
    const blamed = this.#blamed;
    const theirs = blamed !== null && blamed !== this.home && isFinal(code);
    if (theirs) blamed.lost(now, code, reason);
    if (theirs) this.home.lost(now);
    else this.home.lost(now, code, reason, status);
  }

  heard(now, text) {
    const frame = read(text);
    if (frame === null) return;
    const key = keyOf(frame.of, frame.session_id);
    if (frame.type === "session.switched") this.#switched(now, key);
    else if (frame.type === "error" && this.#turning !== null && typeof frame.role === "string") this.#refused(now, errorOf(frame));
    else this.#hear(now, frame, key, text.length);
    if (OPENED.includes(this.home.phase)) this.home.pulse.alive();
  }

  // frames that come

  #hear(now, frame, key, weight) {
    const core = this.#whose(frame, key);
    const name = JSON.stringify(key);
    if (frame.type === "session.created" && key.at) this.#greetings.set(name, frame);
    else if (core === null && this.#greetings.has(name) && number(frame, "seq") !== null) {
      this.#greetings.set(name, { ...this.#greetings.get(name), head: frame.seq });
    }
    this.#blamed = frame.type === "error" ? core : null;
    core?.hear(now, frame, weight);
    if (frame.type === "channel.urgent" && OPENED.includes(this.home.phase)) this.#hurry(now, name, frame);
  }

  #whose(frame, key) {
    if ((frame.session_id ?? null) === null && !("of" in frame)) {
      return this.cores.find((core) => core.says.of(frame.client_msg_id) !== null) ?? this.home;
    }
    if (same(key, { at: HOME, id: this.home.session_id })) return this.home;
    return this.#guests.find((guest) => same(guest.knownAs, key)) ?? null;
  }

  /** The socket's signs of life come as fast as the most urgent of its sessions asks for. */
  #hurry(now, name, frame) {
    this.#urgent.delete(name);
    if (frame.is_urgent === true) this.#urgent.set(name, frame.heartbeat_ms);
    const beats = [...this.#urgent.values()].filter((beat) => Number.isSafeInteger(beat));
    this.home.pulse.urgent(now, this.#urgent.size > 0, beats.length ? Math.min(...beats) : null);
  }

  #switched(now, key) {
    const core = this.#turned();
    this.#at = key.at;
    if (core === null || core === this.home) return;
    const other = this.cores.find((one) => one !== core && same(this.#key(one), key));
    if (other) {
      core.sameAs = other;
      core.close();
      return;
    }
    core.knownAs = key;
    const opening = this.#unsent.findIndex((one) => one.core === core && !one.frame);
    if (opening < 0) return;
    this.#unsent.splice(opening, 1);
    core.opened(now);
    const greeting = this.#greetings.get(JSON.stringify(key));
    if (greeting) core.hear(now, greeting, 0);
  }

  #refused(now, error) {
    const core = this.#turned();
    if (core !== this.home) {
      this.#forget(core);
      core.refused(now, error);
    } else if (error.retryable) {
      this.#turnAt = now + (error.retry_after_ms ?? TURN_AGAIN_MS);
    } else {
      core.giveUp(error);
    }
  }

  #turned() {
    const core = this.#turning;
    this.#turning = this.#turnBy = null;
    return core;
  }

  // what the cores want

  /** What is to be done: [core, action]; sends, and closes of home's, are the socket's. */
  collect(now) {
    const done = [];
    do {
      for (const core of this.cores.filter((one) => one.out.length)) {
        for (const action of core.out.splice(0)) this.#carry(core, action, done);
      }
      this.#follow(now);
      this.#turn(now, done);
    } while (this.cores.some((core) => core.out.length));
    return done;
  }

  #carry(core, action, done) {
    if (action.send) {
      const first = this.#unsent.every((one) => one.core !== core);
      if ((first && this.#hears(core)) || action.send.type === "ping") done.push([this.home, action]);
      else this.#unsent.push({ core, frame: action.send });
    } else if (core !== this.home && action.connect) {
      core.hold();
      this.#unsent.push({ core, frame: null });
    } else {
      if (action.close) this.#forget(core);
      done.push([core, action]);
    }
    if (core.phase === "ended") this.#guests = this.#guests.filter((guest) => guest !== core);
  }

  #forget(core) { this.#unsent = this.#unsent.filter((one) => one.core !== core); }

  /** Guests go where the socket goes. */
  #follow(now) {
    const home = this.home;
    const stands = ["resuming", "ready"].includes(home.phase);
    if (home.phase === "ended") {
      for (const guest of this.#guests) {
        if (home.error === CLOSED) guest.close();
        else guest.giveUp(home.error ?? CLOSED);
      }
    } else if (stands && !this.#stood) {
      for (const guest of this.#guests) guest.call(now);
    } else if (this.#stood && !stands) {
      for (const guest of this.#guests) guest.lost(now, GONE, "the connection is gone");
    }
    if (this.#stood && !stands) {
      this.#turning = this.#turnBy = this.#turnAt = null;
      this.#greetings.clear();
      this.#urgent.clear();
      this.#unsent = [];
    }
    this.#stood = stands;
  }

  /** Send what may be sent now: what is for whom the socket speaks to, then it turns to whoever is next. */
  #turn(now, done) {
    const held = [];
    for (const one of this.#unsent) {
      if (one.frame && this.#hears(one.core)) done.push([this.home, { send: one.frame }]);
      else held.push(one);
    }
    this.#unsent = held;
    if (!held.length || this.#turning !== null || this.#turnAt !== null || !this.home.stands) return;
    const [{ core }] = held;
    done.push([this.home, { send: { type: "session.switch", role: core.guest ?? this.#role, session_id: core.session_id } }]);
    this.#turning = core;
    this.#turnBy = now + TURN_MS;
  }

  /** What is sent now is said to this one. */
  #hears(core) { return this.#turning === null && this.#key(core).at === this.#at; }
  #key(core) { return core.guest === null ? { at: HOME, id: core.session_id } : core.knownAs ?? { at: "?", id: core.session_id }; }
}

// ── the shell ───────────────────────────────────────────────────────────────────────

/** What talking to a Role can end with: the server's `code`, `message` and `hint`. */
export class RoleError extends Error {
  /** @param {Fault} fault @param {Frame} [by] The end of the response that it came with. */
  constructor(fault, by = {}) {
    super([fault.message || fault.code, fault.hint].filter(Boolean).join(". "));
    this.name = "RoleError";
    this.code = fault.code;
    this.hint = fault.hint;
    this.retryable = fault.retryable;
    /** Of the trace of the turn that failed, the last one where it was tried again; empty where none was traced. */
    this.trace_id = word(by, "trace_id") ?? "";
  }
}

/** Whoever waits for news is woken by it. */
class News {
  #wake = null;
  #next = null;

  next() {
    this.#next ??= new Promise((wake) => { this.#wake = wake; });
    return this.#next;
  }

  tell() {
    this.#wake?.();
    this.#wake = this.#next = null;
  }
}

/** One answer on its way: await it for the Reply, or iterate it for its Deltas. Both throw RoleError. */
class Pending {
  /** @type {Reply | null} */
  #reply = null;
  #error = null;
  /** @type {Frame | undefined} */
  #failedBy;
  #pieces = [];
  #begun = 0;
  #news = new News();
  #cancel;

  constructor(messageId, cancel) { this.client_msg_id = messageId; this.#cancel = cancel; }

  /** What is known of the answer so far. */
  get text() { return this.#pieces.join(""); }
  get over() { return this.#reply !== null || this.#error !== null; }

  /** End it early. @param {{chars: number, audio_ms?: number}} [heard] What the user took in; without it all that was sent. */
  cancel(heard) { this.#cancel(heard); }

  then(resolve, reject) { return this.#whole().then(resolve, reject); }
  catch(reject) { return this.#whole().catch(reject); }
  finally(after) { return this.#whole().finally(after); }

  async #whole() {
    while (!this.over) await this.#news.next();
    if (this.#error) throw this.#error;
    // Not the reply itself through `then`: it is a plain object.
    return this.#reply;
  }

  /** @returns {AsyncGenerator<Delta>} */
  async *[Symbol.asyncIterator]() {
    let begun = this.#begun;
    let told = 0;
    let offset = 0;
    for (;;) {
      const reset = begun !== this.#begun && offset > 0;
      if (begun !== this.#begun) {
        begun = this.#begun;
        told = offset = 0;
      }
      if (told < this.#pieces.length || reset) {
        const text = this.#pieces.slice(told).join("");
        told = this.#pieces.length;
        const at = offset;
        offset += length(text);
        yield { text, offset: at, reset };
      } else if (this.#error) {
        throw this.#error;
      } else if (this.#reply) {
        return;
      } else {
        await this.#news.next();
      }
    }
  }

  /** An event of this message. */
  feed(event) {
    if (event.type === DELTA) this.#pieces.push(event.delta);
    else if (event.type === "response.reset") this.#again();
    else if (event.type === "response.done" && event.status !== "failed") this.#done(event);
    else if (event.type === "response.done") this.#failed(event);
    else if (event.type === "client.joined") this.#done(event.response);
    else if (event.type === "client.cancelled") this.#reply = replyOf({ status: "cancelled" }, "");
    else if (event.type === "client.failed") this.#error = new RoleError(event.error, this.#failedBy);
    this.#news.tell();
  }

  #failed(event) {
    this.#failedBy = event;
    if (event.seq) this.#error = new RoleError(errorOf(event), event);
  }

  #again() {
    if (!this.#pieces.length) return;
    this.#pieces = [];
    this.#begun += 1;
  }

  #done(event) {
    const shown = this.text;
    const text = word(event, "message") ?? shown;
    if (text.startsWith(shown) && text !== shown) {
      this.#pieces.push(text.slice(shown.length));
    } else if (event.status !== "cancelled" && text !== shown) {
      this.#again();
      this.#pieces = [text];
    }
    this.#reply = replyOf(event, text);
  }
}

/** @returns {Reply} */
const replyOf = (event, text) => ({
  text,
  status: event.status === "cancelled" ? "cancelled" : "completed",
  response_id: word(event, "response_id") ?? "",
  seq: number(event, "seq"),
  revision: word(event, "revision") ?? "",
  usage: event.usage ?? {},
  metrics: event.metrics ?? {},
  degraded: event.degraded ?? [],
  trace_id: word(event, "trace_id") ?? "",
});

const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const now = () => performance.now();

/**
 * A session with a Role. It connects at once; what is said before it stands is sent when it does.
 *
 * @param {string} url The gateway's: http, https, ws or wss.
 * @param {string} role `name`, `tenant/name` or `name@revision`.
 * @param {object} [options]
 * @param {string} [options.key] A tenant's key. Never in a page: whoever reads the page has it.
 * @param {string | (() => string | Promise<string>)} [options.token] An end user's token; a function is asked for a
 *   fresh one at every connection.
 * @param {string} [options.sessionId] The session to go on with; else a fresh one.
 * @param {string} [options.user] Who the user is; only with a key of scope act-as-user.
 * @param {number | null} [options.afterSeq] 0 tells `events()` the whole session, null what happens from now on.
 * @param {number} [options.patience] Seconds for the first connection, and for each message unless it says otherwise.
 * @param {typeof WebSocket} [options.WebSocket] In place of the global one.
 * @returns {Session}
 */
export function connect(url, role, { patience = 60, ...options } = {}) {
  const trunk = new Trunk(url, role, options);
  const session = new Session(trunk, trunk.home, patience);
  trunk.home.start(now());
  trunk.work();
  return session;
}

/** One socket after the other, for all sessions on it: carries out what their cores want. */
class Trunk {
  #board;
  #base;
  #role;
  #bearer;
  #shownBearer = "";
  #Socket;
  #socket = null;
  #timer = null;
  #working = false;
  /** @type {Map<Core, Session>} */
  sessions = new Map();

  constructor(url, role, { key, token, sessionId, user = null, afterSeq = null, WebSocket: Socket } = {}) {
    if (key !== undefined && token !== undefined) throw new TypeError("give a key or a token, not both");
    this.#base = new URL(String(url).replace(/^ws(s?):/, "http$1:"));
    if (!/^https?:$/.test(this.#base.protocol) || this.#base.username || this.#base.search) {
      throw new TypeError("a gateway's url is like https://roles.example.com, without a query and without a key");
    }
    this.#role = role;
    this.#bearer = token ?? key ?? "";
    this.#Socket = Socket ?? globalThis.WebSocket;
    if (!this.#Socket) throw new TypeError("there is no WebSocket here: Node 22 has one, or give options.WebSocket");
    const draw = () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
    const renewable = typeof this.#bearer === "function";
    this.home = new Core(sessionId ?? randomId(), draw, { after_seq: afterSeq, user, renewable });
    this.#board = new Switchboard(this.home, role, draw);
  }

  get origin() { return this.#base.origin; }

  /** As of the switchboard. Whoever ended meanwhile is not listened for any more. */
  switch(role, sessionId, afterSeq) {
    for (const core of this.sessions.keys()) if (core.phase === "ended" && core !== this.home) this.sessions.delete(core);
    return this.#board.switch(now(), role, sessionId, { after_seq: afterSeq });
  }

  do(what) {
    try {
      what(now());
    } finally {
      this.work();
    }
  }

  work() {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let actions; (actions = this.#board.collect(now())).length;) {
        for (const [core, action] of actions) this.#act(core, action);
      }
    } finally {
      this.#working = false;
    }
    clearTimeout(this.#timer);
    const due = this.#board.due();
    this.#timer = due === null ? null : setTimeout(() => this.do((at) => this.#board.tick(at)), Math.max(0, due - now()));
  }

  #act(core, action) {
    if (action.connect) void this.#dial();
    else if (action.send) this.#socket?.send(JSON.stringify(action.send));
    else if (action.poll) void this.#poll(core, action.poll);
    else if (action.tell) this.sessions.get(core)?.told(action.tell);
    else {
      if (core === this.home) this.#letGo();
      this.sessions.get(core)?.wake(); // it may be the end, of which nothing else is told
    }
  }

  /** Let go of the connection and make another. */
  reconnect() {
    const socket = this.#socket;
    if (socket !== null) this.#lost(socket, { code: 1006, reason: "asked for" });
    socket?.close();
  }

  #letGo() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket?.close) socket.close(1000);
  }

  async #dial() {
    const mine = (this.#socket = {}); // until there is one: whoever lets go of it meanwhile is not told of it
    let bearer = this.#bearer;
    if (typeof bearer === "function") {
      try {
        bearer = await bearer();
      } catch { // whoever makes tokens may be away for a while, as a gateway may
        this.#lost(mine, { code: 1006, reason: "no token could be had" });
      }
    }
    if (this.#socket !== mine) return;
    try {
      this.#shownBearer = bearer;
      const protocols = bearer ? [SUBPROTOCOL, BEARER + bearer] : [SUBPROTOCOL];
      const socket = (this.#socket = new this.#Socket(this.#address(), protocols));
      socket.onopen = () => socket === this.#socket && this.do((at) => this.#board.opened(at));
      socket.onmessage = ({ data }) => {
        if (socket === this.#socket && typeof data === "string") this.do((at) => this.#board.heard(at, data));
      };
      socket.onerror = () => {};
      socket.onclose = ({ code, reason }) => this.#lost(socket, { code, reason });
    } catch (error) {
      if (this.#socket === mine) this.do(() => this.home.giveUp(failure("broken", `cannot connect: ${error?.message ?? error}`)));
    }
  }

  #lost(socket, { code, reason }) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.do((at) => this.#board.lost(at, code, reason));
  }

  #address() {
    const at = new URL(this.#base);
    const user = this.home.user;
    at.protocol = at.protocol.replace("http", "ws");
    at.pathname = `${at.pathname.replace(/\/$/, "")}/role/${encodeURIComponent(this.#role)}`;
    at.search = new URLSearchParams({ session_id: this.home.session_id, ...(user === null ? {} : { user }) }).toString();
    return at.href;
  }

  async #poll(core, path) {
    let answer = null;
    try {
      const headers = this.#shownBearer ? { Authorization: `Bearer ${this.#shownBearer}` } : {};
      const signal = AbortSignal.timeout(10000);
      const got = await fetch(new URL(path, this.#base), { headers, signal, redirect: "error", cache: "no-store", credentials: "omit" });
      if (got.ok) answer = await got.json();
    } catch {
      // it is asked again
    }
    this.do((at) => core.polled(at, answer));
  }
}

/** One session with one Role. Made by `connect` and by `switch`. */
export class Session {
  #trunk;
  #core;
  #patience;
  #pending = new Map();
  #news = new News();

  constructor(trunk, core, patience, openPatience = patience) {
    this.#trunk = trunk;
    this.#core = core;
    this.#patience = patience;
    trunk.sessions.set(core, this);
    /** The session's word. */
    this.id = core.session_id;
    /** Resolves to this session when it is open for the first time. Rejects with a RoleError: it was refused, or
     * patience is over; then it goes on trying all the same, until `close`. */
    this.opened = this.#untilOpen(openPatience);
    this.opened.catch(() => {});
  }

  /**
   * The session with another Role, over this one's socket: `const tutor = await session.switch("tutor")`. It is a
   * session of its own, with its own events, state and messages, under the same id if you give none. Both may be used
   * from here on, in any order and at once, and after a loss both go on. Switched to again, by whatever of its names,
   * it is the same object. Closing the session that `connect` made closes all of them, closing another one only that.
   * `afterSeq: 0` tells its `events()` the whole session, from its beginning whenever they are asked for: read them then.
   *
   * @param {string} role
   * @param {{sessionId?: string, afterSeq?: number | null, patience?: number}} [options]
   * @returns {Promise<Session>} Rejects with a RoleError where it cannot be opened, and this session goes on as it was.
   */
  async switch(role, { sessionId = this.id, afterSeq = null, patience = this.#patience } = {}) {
    const trunk = this.#trunk;
    const core = trunk.switch(role, sessionId, afterSeq);
    const known = trunk.sessions.get(core);
    if (!known && afterSeq !== null) core.listen();
    const other = known ?? new Session(trunk, core, this.#patience, patience);
    trunk.work();
    try {
      return await other.opened;
    } catch (error) {
      if (!known) other.close();
      throw error;
    }
  }

  /**
   * Say something: it is sent at once, and again after every loss until it is answered or patience is over.
   *
   * @param {string} message
   * @param {{patience?: number, client_msg_id?: string, busy_policy?: "queue" | "reject" | "interrupt" | "steer",
   *   heard?: {chars: number, audio_ms?: number}, deadline_ms?: number, revision?: string, greeting?: number}} [options] `heard`: of
   *   the answer that is interrupted. `greeting`: with a session's first message, which of the greetings was shown.
   * @returns {Pending} Await it for the Reply, or iterate it for its pieces. Throws RoleError for what no server takes.
   */
  say(message, { patience = this.#patience, client_msg_id = randomId(), ...more } = {}) {
    const pending = new Pending(client_msg_id, (heard) => {
      if (this.#pending.get(client_msg_id) === pending) this.#do((at) => this.#core.cancel(at, client_msg_id, heard ?? null));
    });
    const before = this.#pending.get(client_msg_id);
    this.#pending.set(client_msg_id, pending);
    try {
      this.#do((at) => this.#core.say(at, message, client_msg_id, { patience_ms: Math.round(1000 * patience), ...more }));
    } catch (error) {
      if (before) this.#pending.set(client_msg_id, before);
      else this.#pending.delete(client_msg_id);
      throw error;
    }
    return pending;
  }

  /** End the answer that is on its way. @param {{chars: number, audio_ms?: number}} [heard] */
  cancel(heard) { this.#do((at) => this.#core.cancel(at, null, heard ?? null)); }

  /**
   * Everything that happens from this call on, whoever caused it. For one reader; read on, or the connection is let go
   * of at 1,024 unread events and taken up again when half of them are read.
   * @returns {AsyncGenerator<Frame>}
   */
  events() {
    this.#core.listen();
    return this.#read();
  }

  async *#read() {
    try {
      for (;;) {
        const news = this.#news.next();
        let event = null;
        this.#do((at) => { event = this.#core.take(at); });
        if (event !== null) yield event;
        else if (this.#core.phase === "ended") return;
        else await news;
      }
    } finally {
      this.#do((at) => this.#core.unlisten(at));
    }
  }

  /** The Role's state of this session as far as it is known here: `values` is null where it is not. */
  get state() { return { version: this.#core.known.version, values: structuredClone(this.#core.known.values) }; }
  /** The Role's state of this person, which their other sessions share and change, as far as it is known here. */
  get userState() { return { version: this.#core.shared.version, values: structuredClone(this.#core.shared.values) }; }
  /** Running mean of what a ping takes, ms; null before the first. */
  get rtt_ms() { return this.#trunk.home.pulse.rtt_ms; }
  get connected() { return ["ready", "resuming"].includes(this.#core.phase); }
  /** The newest `session.created`: role, display_name, greeting, durability, … */
  get about() { return { ...this.#core.greeted }; }
  /** Number of the last event that was told. */
  get seq() { return this.#core.last; }

  /** Let go of the connection and take its sessions up again. */
  reconnect() { this.#trunk.reconnect(); }

  /** What still waits for an answer rejects; a turn that runs goes on at the server. */
  close() { this.#do(() => this.#core.close()); }

  async #untilOpen(patience) {
    const late = now() + 1000 * patience;
    while (this.#core.greeted === null) {
      if (this.#core.sameAs !== null) return this.#trunk.sessions.get(this.#core.sameAs).opened;
      if (this.#core.phase === "ended") throw new RoleError(this.#core.error);
      const left = late - now();
      if (left <= 0) {
        const away = failure("unreachable", `${this.#trunk.origin} does not answer`, "Check the address", true);
        throw new RoleError((this.#core.guest !== null && this.#core.trouble) || away);
      }
      let timer;
      await Promise.race([this.#news.next(), new Promise((wake) => { timer = setTimeout(wake, left); })]);
      clearTimeout(timer);
    }
    return this;
  }

  // from the trunk

  told(event) {
    const pending = typeof event.client_msg_id === "string" ? this.#pending.get(event.client_msg_id) : undefined;
    pending?.feed(event);
    if (pending?.over) this.#pending.delete(event.client_msg_id);
    this.wake();
  }

  wake() { this.#news.tell(); }

  #do(what) {
    this.#trunk.do(what);
    if (this.#core.phase !== "ended") return;
    for (const { tell } of this.#core.out.splice(0)) if (tell) this.told(tell); // it is off the trunk, which asks it no more
  }
}
