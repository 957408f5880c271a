-- Sends what the environment says, and prints one line of JSON when it is over.

wrk.headers["user-agent"] = "curl/8.5.0"
wrk.headers["accept"] = "*/*"
wrk.headers["accept-encoding"] = "gzip"

if os.getenv("BODY_SIZE") then
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  wrk.body = string.rep("1", tonumber(os.getenv("BODY_SIZE")))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"p50_us":%d,"p99_us":%d,' ..
      '"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50),
    latency:percentile(99), errors.connect, errors.read, errors.write, errors.timeout, errors.status
  ))
end
