// The cases of the bench `values` for bentocache, with a memory, Redis and a bus as its documentation sets
// them up. Takes the port of an empty Redis, and prints a line for each case.
import { setTimeout as sleep } from "node:timers/promises";

import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import { redisBusDriver, redisDriver } from "bentocache/drivers/redis";
import { Redis } from "ioredis";

const connection = { host: "127.0.0.1", port: Number(process.argv[2]) };

// Each is what a process of a service has.
const instance = () => {
  const store = bentostore()
    .useL1Layer(memoryDriver({ maxSize: "64mb" }))
    .useL2Layer(redisDriver({ connection }))
    .useBus(redisBusDriver({ connection }));
  return new BentoCache({ default: "values", stores: { values: store } });
};
const [one, other] = [instance(), instance()];

const loader = (result, ms = 50) => {
  const factory = async () => {
    factory.calls += 1;
    await sleep(ms);
    if (result === undefined) throw new Error("the database is away");
    return result;
  };
  factory.calls = 0;
  return factory;
};
// Asks 200 times at once, and returns the values.
const herd = async (options) => {
  const asked = Array.from({ length: 200 }, () => one.getOrSet({ ttl: "1h", ...options }));
  return (await Promise.allSettled(asked)).map((settled) => settled.value);
};
const insertStale = async (key) => {
  await one.set({ key, value: "old", ttl: 50, grace: "1h" });
  await sleep(100);
};
const stale = (values) => values.filter((value) => value === "old").length;
const get = async (cache, key) => (await cache.get({ key })) ?? "none";

{
  const factory = loader("new");
  await herd({ key: "herd", factory });
  console.log(`${factory.calls}`);
}

{
  const factory = loader();
  await herd({ key: "failing", factory });
  const first = factory.calls;
  await herd({ key: "failing", factory });
  console.log(`${first}, ${factory.calls - first}`);
}

// There is no such option.
console.log("–");

{
  const factory = loader();
  await insertStale("stale");
  const options = { key: "stale", factory, grace: "1h", graceBackoff: "10s" };
  const values = [...(await herd(options)), ...(await herd(options))];
  console.log(`${stale(values)}, ${factory.calls}`);
}

{
  const factory = loader("new", 1000);
  await insertStale("slow-loader");
  const start = performance.now();
  const values = await herd({ key: "slow-loader", factory, grace: "1h", timeout: 100 });
  const wait = Math.floor(performance.now() - start);
  await sleep(1500);
  const then = await get(one, "slow-loader");
  console.log(`${stale(values)}, ${wait} ms, ${factory.calls}, ${then}`);
}

{
  const key = "slow-redis";
  await one.set({ key, value: "old", ttl: "1h" });
  for (let tries = 0; tries < 100 && (await get(other, key)) !== "old"; tries++) await sleep(50);
  const admin = new Redis(connection);
  await admin.client("PAUSE", 1500, "ALL");
  const start = performance.now();
  await one.set({ key, value: "new", ttl: "1h" });
  const set = `done in ${Math.floor(performance.now() - start)} ms`;
  const near = await get(one, key);
  await sleep(3000);
  console.log(`${set}, ${near}, ${await get(other, key)}`);
  await admin.quit();
}

{
  await one.namespace("untouched").set({ key: "1", value: "kept", ttl: "1h" });
  for (let at = 0; at < 150_000; at += 1000) {
    const keys = Array.from({ length: 1000 }, (_, key) => at + key);
    // Each waits for Redis as long as it takes.
    await Promise.all(keys.map((key) => one.set({ key: `other:${key}`, value: key, ttl: "1h" })));
  }
  console.log(`${await get(other.namespace("untouched"), "1")}, 0`);
}

{
  await one.namespace("stranger").set({ key: "1", value: "kept", ttl: "1h" });
  for (let number = 0; number < 101; number++) {
    const cleared = one.namespace(`n${number}`);
    await cleared.set({ key: "1", value: number, ttl: "1h" });
    await cleared.clear();
  }
  console.log(await get(other.namespace("stranger"), "1"));
}

const races = async (change) => {
  let stale = 0;
  for (let race = 0; race < 150; race++) {
    const key = `race:${race}`;
    let loaded;
    await new Promise((begun) => {
      const factory = async () => {
        begun();
        await sleep(race % 30);
        return "old";
      };
      loaded = one.getOrSet({ key, factory, ttl: "1h" });
    });
    await change(key);
    await loaded;
    await sleep(50);
    for (const cache of [one, other]) {
      const value = await cache.getOrSet({ key, factory: () => "new", ttl: "1h" });
      stale += Number(value === "old");
    }
    await one.delete({ key });
  }
  console.log(`${stale}`);
};
await races((key) => other.delete({ key }));
await races((key) => other.set({ key, value: "new", ttl: "1h" }));

await Promise.all([one.disconnectAll(), other.disconnectAll()]);
