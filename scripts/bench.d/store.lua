-- What wrk asks of a store that speaks the v2 API of etcd; figures.lua prints what it has measured.
--
--   wrk … --script store.lua URL -- put|get|swap
--
-- Values have 100 bytes, and keys 10,000 names. A swap expects the value that every key has.

local value = string.rep("v", 100)
local form = "application/x-www-form-urlencoded"

function setup(thread)
    threads = (threads or 0) + 1
    thread:set("seed", threads)
end

function init(arguments)
    kind = arguments[1]
    math.randomseed(seed)
    if kind ~= "get" then
        wrk.method = "PUT"
        wrk.headers["Content-Type"] = form
        wrk.body = "value=" .. value
    end
    if kind == "swap" then
        wrk.body = wrk.body .. "&prevValue=" .. value
    end
end

function request()
    local number = math.random(0, 9999)
    return wrk.format(nil, string.format("/v2/keys/bench/%d/%d", number % 100, number))
end

dofile(debug.getinfo(1, "S").source:match("^@(.*)/") .. "/figures.lua")
