-- Work for LuaJIT, whose code is made as it runs; with -joff for its interpreter in assembly.
local x, v = 1.0, 0.1
for _ = 1, 5e6 do
    v = v - x / (x * x + 0.5) * 0.001
    x = x + v * 0.001
end
print(string.format("orbit %.17g %.17g", x, v))

local numbers, hash = {}, 0
for i = 1, 300000 do numbers[i] = i * 7919 % 100003 end
table.sort(numbers)
for _, n in ipairs(numbers) do hash = (hash * 31 + n) % 1000000007 end
print("sort", hash)

local words = {}
for i = 1, 100000 do words[i] = string.format("%x", i * 48271) end
print("text", #table.concat(words))

local ffi = require("ffi")
ffi.cdef("int abs(int); double sqrt(double);")
local sum = 0
for i = 0, 99999 do sum = sum + ffi.C.sqrt(i) + ffi.C.abs(-i) end
print(string.format("calls of C %.17g", sum))
