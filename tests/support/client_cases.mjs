// The golden cases on the core of rolehost.js; see client_cases.py, of which this is the other half.
//
//     node client_cases.mjs ROLEHOST.JS FOLDER     prints {case: [{out, is}, …]} as JSON

const MOST_TICKS = 1000;

const HAPPENS = {
  text: (core, now, given) => core.heard(now, given),
  say: (core, now, { message, client_msg_id, ...more }) => core.say(now, message, client_msg_id, more),
  cancel: (core, now, { client_msg_id, heard }) => core.cancel(now, client_msg_id ?? null, heard ?? null),
  polled: (core, now, given) => core.polled(now, given),
  lost: (core, now, { code, reason, status }) => core.lost(now, code, reason, status),
  start: (core, now) => core.start(now),
  opened: (core, now) => core.opened(now),
  close: (core) => core.close(),
  listen: (core) => core.listen(),
  unlisten: (core, now) => core.unlisten(now),
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

export function run(Core, given) {
  const { session_id, ...options } = given.core;
  const core = new Core(session_id, () => given.draw ?? 0.5, options);
  return given.steps.map((step) => {
    for (let ticks = 0; core.due() !== null && core.due() <= step.at; ticks += 1) {
      if (ticks > MOST_TICKS) throw new Error("time does not pass");
      core.tick(core.due());
    }
    const taken = [];
    if (step.frame) core.heard(step.at, JSON.stringify(step.frame));
    if (step.do === "take") {
      for (let count = step.with.count; count > 0; count -= 1) {
        const event = core.take(step.at);
        if (event !== null) taken.push({ took: event });
      }
    } else if (step.do) {
      HAPPENS[step.do](core, step.at, step.with === undefined ? {} : step.with);
    }
    const out = JSON.parse(JSON.stringify([...core.out.splice(0), ...taken]));
    const is = Object.fromEntries(Object.keys(step.is ?? {}).map((name) => [name, structuredClone(OF[name](core))]));
    return { out, is };
  });
}

if (globalThis.process?.argv[1] && import.meta.url.endsWith(globalThis.process.argv[1].split("/").pop())) {
  const { readFileSync, readdirSync } = await import("node:fs");
  const { pathToFileURL } = await import("node:url");
  const [library, folder] = process.argv.slice(2);
  const { Core } = await import(pathToFileURL(library).href);
  const told = {};
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".json"))) {
    told[name.slice(0, -5)] = run(Core, JSON.parse(readFileSync(`${folder}/${name}`, "utf8")));
  }
  process.stdout.write(JSON.stringify(told));
}
