-- How what wrk has measured is printed for a script to read.

-- requests per second, p50 and p99 in milliseconds, answers that were no success, other failures
function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format("figures %.0f %.2f %.2f %d %d\n",
        summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
