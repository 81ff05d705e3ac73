-- Usage reports of which no two are alike: each carries its own nonce of 16 bytes.
local thread = 0
function setup(t)
	thread = thread + 1
	t:set("id", thread)
end
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local day = math.floor(os.time() / 86400) - 1
local count = 0
function init()
	math.randomseed(os.time() * 16 + id)
	wrk.method = "POST"
	wrk.headers["Content-Type"] = "application/json"
end
function request()
	local nonce = {}
	for i = 1, 21 do
		local k = math.random(64)
		nonce[i] = alphabet:sub(k, k)
	end
	-- 22 digits of base64 are 132 bits: the last one has four to spare
	nonce[22] = ({"A", "Q", "g", "w"})[math.random(4)]
	return wrk.format(nil, "/v1/telemetry", nil,
		'{"schema":1,"kind":"usage","nonce":"' .. table.concat(nonce) ..
		'==","channel":"stable","class":"default","os_major":15,"runtime":"llama.cpp/4000","day":' .. day ..
		',"day_first":true,"entries":[{"model":"assistant","variant":"assistant@1.0.0/q8_0","used":4,' ..
		'"hit":{"crash":1},"n":{"sessions":4,"requests":30,"ok":29,"crash":1},' ..
		'"h":{"ttft_ms":{"o":136,"c":[9,14,18]}}}]}')
end
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("bad %d\n", e.status + e.timeout + e.read + e.write + e.connect))
end
