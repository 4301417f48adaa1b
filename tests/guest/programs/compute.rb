# Work for Ruby: numbers, hashes, fibers, regular expressions.
require 'digest'
puts "sort #{Digest::SHA256.hexdigest((1..200000).map { |i| i * 7919 % 100003 }.sort.join(','))}"
puts "factorial #{Digest::SHA256.hexdigest((1..1500).inject(:*).to_s)}"
counts = Hash.new(0)
300000.times { |i| counts["k#{i % 997}"] += i }
puts "hash #{counts.values.sum}"
fiber = Fiber.new { (1..).each { |i| Fiber.yield i } }
puts "fiber #{50000.times.sum { fiber.resume }}"
puts "text #{('abc123def' * 5000).gsub(/(\d)(\D)/) { $2 + $1 }.sum}"
