// Calls functions of the page's underneath.js: [name, ...arguments] each on stdin, the results on stdout.
import { readFileSync } from "node:fs";

const source = readFileSync(process.argv[2], "utf8");
const page = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
const asked = JSON.parse(readFileSync(0, "utf8"));
const plain = (value) => (value instanceof Set ? [...value] : value);
console.log(JSON.stringify(asked.map(([name, ...given]) => plain(page[name](...given)))));
