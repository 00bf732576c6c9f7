-- What wrk asks, and how its figures are printed for a script to read:
--
--   wrk … --script request.lua URL -- METHOD [BODY [NEW]]
--
-- With NEW, a text of this run's own, each request is for another path below the URL's.

local threads = 0

function setup(thread)
    thread:set("number", threads)
    threads = threads + 1
end

function init(arguments)
    wrk.method = arguments[1] or "GET"
    if arguments[2] and arguments[2] ~= "" then
        wrk.body = arguments[2]
        wrk.headers["Content-Type"] = "application/json"
    end
    prefix = arguments[3]
    made = 0
end

function request()
    if not prefix then
        return wrk.format()
    end
    made = made + 1
    return wrk.format(nil, string.format("%s%s-%d-%d", wrk.path, prefix, number, made))
end

-- requests per second, p50 and p99 in milliseconds, answers that were no success, other failures
function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format("figures %.0f %.2f %.2f %d %d\n",
        summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
