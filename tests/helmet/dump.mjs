// Reads a list of option sets as JSON, gives each to helmet, and prints as JSON what helmet did:
// {"headers": [[name, value], ...], "removed": [name, ...]}, or {"error": text}.
//
// What JSON cannot say is an object of one of these keys.
import { readFileSync } from "node:fs";
import helmet from "helmet";

const special = {
  $disabled: () => helmet.contentSecurityPolicy.dangerouslyDisableDefaultSrc,
  $entries: (pairs) => Object.fromEntries(pairs), // in this order
  $function: (text) => () => text,
  $number: (text) => Number(text),
  $set: (list) => new Set(list),
  $undefined: () => undefined,
};

const revive = (_, value) => {
  const [key = "", ...others] = Object.keys(value ?? {});
  const isSpecial = others.length === 0 && Object.hasOwn(special, key);
  return isSpecial ? special[key](value[key]) : value;
};

const dump = (options) => {
  const headers = [];
  const removed = [];
  const response = {
    setHeader: (name, value) => headers.push([name, value]),
    removeHeader: (name) => removed.push(name),
  };
  try {
    let ended = false;
    helmet(options)({}, response, (error) => {
      if (error) throw error;
      ended = true;
    });
    return ended ? { headers, removed } : { error: "it never called next()" };
  } catch (error) {
    return { error: String(error) };
  }
};

const sets = JSON.parse(readFileSync(0, "utf8"), revive);
process.stdout.write(JSON.stringify(sets.map(dump)));
