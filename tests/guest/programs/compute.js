// Work for a JavaScript engine: its translator, its garbage collector, its libraries.
const crypto = require('crypto');
const zlib = require('zlib');
const hash = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
const show = (...what) => console.log(...what);

function mandelbrot(size) {
    let sum = 0;
    for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
            const cr = 2 * x / size - 1.5, ci = 2 * y / size - 1;
            let zr = 0, zi = 0, i = 0;
            for (; i < 100 && zr * zr + zi * zi < 4; i++) {
                [zr, zi] = [zr * zr - zi * zi + cr, 2 * zr * zi + ci];
            }
            sum += i;
        }
    }
    return sum;
}
show('mandelbrot', mandelbrot(300));

const numbers = [];
for (let i = 0, x = 12345; i < 200000; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    numbers.push(x);
}
numbers.sort((a, b) => a - b);
show('sort', hash(JSON.stringify(numbers)));

let factorial = 1n;
for (let i = 1n; i < 1200n; i++) factorial *= i;
show('factorial', hash(factorial.toString()));

const text = Array.from({length: 20000}, (_, i) => String.fromCharCode(97 + i * i % 26)).join('');
show('text', text.match(/[aeiou][^aeiou]+[aeiou]/g).length, text.replace(/(.)\1/g, '<$1>').length);

const counts = new Map();
for (let i = 0; i < 300000; i++) {
    const key = 'k' + i * 7919 % 5003;
    counts.set(key, (counts.get(key) || 0) + i);
}
show('map', [...counts.values()].reduce((sum, v) => (sum * 31 + v) % 1000000007, 0));

class Base {
    constructor(v) { this.v = v; }
    get() { return this.v + 1; }
}
class Derived extends Base {
    get() { return super.get() * 2; }
}
let calls = 0;
for (let i = 0; i < 2e6; i++) calls = (calls + (i & 1 ? new Base(i) : new Derived(i)).get()) % 1000003;
show('calls', calls);

const doubles = Float64Array.from({length: 1 << 16}, (_, i) => Math.sin(i) * Math.exp(-i / 10000) + Math.sqrt(i));
show('doubles', hash(Buffer.from(doubles.buffer)));

// WebAssembly: f(n) = n + n, from its bytes.
const wasm = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0,
    10, 9, 1, 7, 0, 32, 0, 32, 0, 106, 11,
]);
show('wasm', new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports.f(21));

try {
    JSON.parse('{bad');
} catch (error) {
    show('error', error.name);
}
show('aes', hash(crypto.createCipheriv('aes-256-gcm', Buffer.alloc(32, 7), Buffer.alloc(12, 3)).update(Buffer.alloc(1 << 20, 5))));
show('keys', crypto.pbkdf2Sync('pw', 'salt', 20000, 32, 'sha512').toString('hex'), crypto.scryptSync('a', 'b', 32).toString('hex'));
show('gzip', hash(zlib.gzipSync(JSON.stringify(numbers), {level: 9})));
show('brotli', hash(zlib.brotliCompressSync(JSON.stringify(numbers.slice(0, 50000)))));
