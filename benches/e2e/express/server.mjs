// The stack that Express services usually have, set up as the documentation of each package says.
// REDIS_PORT names the Redis that its cache is in.

import { readFileSync } from "node:fs";

import compression from "compression";
import express from "express";
import helmet from "helmet";
import { Redis } from "ioredis";
import prometheus from "prom-client";

const catalogue = JSON.parse(readFileSync(new URL("../items.json", import.meta.url), "utf8"));
let built = 0;
const items = () => {
  built += 1;
  return catalogue;
};

const redis = new Redis({ host: "127.0.0.1", port: Number(process.env.REDIS_PORT) });

prometheus.collectDefaultMetrics();
const duration = new prometheus.Histogram({
  name: "http_request_duration_seconds",
  help: "How long requests took",
  labelNames: ["method", "route", "status_code"],
});

const measure = (request, response, next) => {
  const end = duration.startTimer();
  response.on("finish", () => {
    const route = request.route?.path ?? "unmatched";
    end({ method: request.method, route, status_code: response.statusCode });
  });
  next();
};

const cache = (seconds) => async (request, response, next) => {
  const key = `cache:${request.originalUrl}`;
  const kept = await redis.get(key);
  if (kept !== null) {
    response.type("application/json").send(kept);
    return;
  }
  const json = response.json.bind(response);
  response.json = (value) => {
    redis.set(key, JSON.stringify(value), "EX", seconds);
    return json(value);
  };
  next();
};

const app = express();
app.use(measure);
app.use(compression());
app.use(helmet());
app.use(express.json({ limit: "10kb" }));

app.get("/hello", (request, response) => response.json({ message: "Hello, world!" }));
app.get("/items", (request, response) => response.json(items()));
app.get("/cached/items", cache(3600), (request, response) => {
  response.set("cache-control", "public, max-age=3600").json(items());
});
app.post("/items", (request, response) => response.status(201).end());
app.get("/built", (request, response) => response.send(String(built)));
app.get("/metrics", async (request, response) => {
  response.type(prometheus.register.contentType).send(await prometheus.register.metrics());
});

const server = app.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
