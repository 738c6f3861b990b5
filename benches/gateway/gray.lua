-- A gray release as it is usually written for OpenResty: rules as JSON in a shared dictionary, decoded again by a worker
-- when their version changes, and asked one after the other. Fields are read when a rule asks for them.
local cjson = require "cjson.safe"

local M = {}
local shared = ngx.shared.rules
local version, rules

local function load()
    local latest = shared:get("version")
    if latest ~= version then
        local decoded = cjson.decode(shared:get("rules"))
        if decoded then
            for _, rule in ipairs(decoded) do
                for _, test in ipairs(rule.when) do
                    if test["in"] then
                        test.set = {}
                        for _, member in ipairs(test["in"]) do test.set[member] = true end
                    end
                end
                if rule.split then
                    rule.total = 0
                    for _, part in ipairs(rule.split) do rule.total = rule.total + part[2] end
                end
            end
            rules, version = decoded, latest
        end
    end
    return rules
end

local function numbers(text)
    local major, minor, patch = text:match("^v?(%d+)%.(%d+)%.(%d+)")
    return major and tonumber(major) * 1000000 + tonumber(minor) * 1000 + tonumber(patch)
end

local function value(test)
    local from = test.from
    if from == "header" then return ngx.req.get_headers()[test.key] end
    if from == "cookie" then return ngx.var["cookie_" .. test.key] end
    if from == "path" then return ngx.var.uri end
    if from == "host" then return ngx.var.host end
    return ngx.var.remote_addr
end

local function holds(test)
    local found = value(test)
    if type(found) ~= "string" then return false end
    if test.is then return found == test.is end
    if test.set then return test.set[found] == true end
    if test.prefix then return found:sub(1, #test.prefix) == test.prefix end
    if test.atleast then
        local have, least = numbers(found), numbers(test.atleast)
        return have ~= nil and have >= least
    end
    return false
end

local function target(rule)
    if rule.to then return rule.to end
    local key = ngx.var["cookie_" .. rule.by]
    local at = key and ngx.crc32_short(key) % rule.total or math.random(0, rule.total - 1)
    for _, part in ipairs(rule.split) do
        if at < part[2] then return part[1] end
        at = at - part[2]
    end
end

function M.choose()
    for _, rule in ipairs(load()) do
        local all = true
        for _, test in ipairs(rule.when) do
            if not holds(test) then
                all = false
                break
            end
        end
        if all then
            ngx.var.cluster = target(rule)
            return
        end
    end
end

return M
