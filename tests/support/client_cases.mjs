// The golden cases on the core of rolehost.js; see client_cases.py, of which this is the other half.
//
//     node client_cases.mjs ROLEHOST.JS FOLDER     prints {case: [{out, is}, …]} as JSON

const MOST_TICKS = 1000;

const HAPPENS = {
  say: (core, now, { message, client_msg_id, ...more }) => core.say(now, message, client_msg_id, more),
  cancel: (core, now, { client_msg_id, heard }) => core.cancel(now, client_msg_id ?? null, heard ?? null),
  polled: (core, now, given) => core.polled(now, given),
  start: (core, now) => core.start(now),
  close: (core) => core.close(),
  listen: (core) => core.listen(),
  unlisten: (core, now) => core.unlisten(now),
};

const TO_ALL = {
  text: (board, now, given) => board.heard(now, given),
  lost: (board, now, { code, reason, status }) => board.lost(now, code, reason, status),
  opened: (board, now) => board.opened(now),
};

const OF = {
  phase: (core) => core.phase,
  last: (core) => core.last,
  version: (core) => core.known.version,
  values: (core) => core.known.values,
  user_version: (core) => core.shared.version,
  user_values: (core) => core.shared.values,
  rtt_ms: (core) => core.pulse.rtt_ms,
};

export function run({ Core, Switchboard }, given) {
  const { session_id, ...options } = given.core;
  const draw = () => given.draw ?? 0.5;
  const home = new Core(session_id, draw, options);
  const board = new Switchboard(home, "storyteller", draw);
  const cores = [home];
  const numberOf = (core) => {
    if (!cores.includes(core)) cores.push(core);
    return cores.indexOf(core);
  };
  const wanted = (at) => board.collect(at).map(([core, action]) => {
    const number = numberOf(core);
    return number ? { of: number, ...action } : action;
  });
  return given.steps.map((step) => {
    const out = [];
    for (let ticks = 0; board.due() !== null && board.due() <= step.at; ticks += 1) {
      if (ticks > MOST_TICKS) throw new Error("time does not pass");
      const due = board.due();
      board.tick(due);
      out.push(...wanted(due));
    }
    const core = cores[step.of ?? 0];
    const taken = [];
    const what = step.with === undefined ? {} : step.with;
    if (step.frame) board.heard(step.at, JSON.stringify(step.frame));
    if (step.do === "take") {
      for (let count = what.count; count > 0; count -= 1) {
        const event = core.take(step.at);
        if (event !== null) taken.push({ took: event });
      }
    } else if (step.do === "switch") {
      numberOf(board.switch(step.at, what.role, what.session_id, { after_seq: what.after_seq ?? null }));
    } else if (step.do) {
      if (step.do in TO_ALL) TO_ALL[step.do](board, step.at, what);
      else HAPPENS[step.do](core, step.at, what);
    }
    out.push(...wanted(step.at), ...taken);
    const is = Object.fromEntries(Object.keys(step.is ?? {}).map((name) =>
      [name, name === "same_as" ? core.sameAs && numberOf(core.sameAs) : structuredClone(OF[name](core))]));
    return JSON.parse(JSON.stringify({ out, is }));
  });
}

if (globalThis.process?.argv[1] && import.meta.url.endsWith(globalThis.process.argv[1].split("/").pop())) {
  const { readFileSync, readdirSync } = await import("node:fs");
  const { pathToFileURL } = await import("node:url");
  const [library, folder] = process.argv.slice(2);
  const cores = await import(pathToFileURL(library).href);
  const told = {};
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".json"))) {
    told[name.slice(0, -5)] = run(cores, JSON.parse(readFileSync(`${folder}/${name}`, "utf8")));
  }
  process.stdout.write(JSON.stringify(told));
}
