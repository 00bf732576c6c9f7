-- What wrk asks; figures.lua prints what it has measured.
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

dofile(debug.getinfo(1, "S").source:match("^@(.*)/") .. "/figures.lua")
