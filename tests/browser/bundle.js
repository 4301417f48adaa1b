// Puts CommonJS modules together into one script for a browser: bundle(file, name) is JavaScript
// that leaves the exports of `file` in a global of that name.
"use strict";
const fs = require("fs");
const path = require("path");

function bundle(entry, name) {
    const modules = new Map();
    const add = (file) => {
        if (modules.has(file))
            return;
        modules.set(file, "");
        const text = fs.readFileSync(file, "utf8").replace(/require\("(\.[^"]*)"\)/g, (all, to) => {
            const found = require.resolve(path.resolve(path.dirname(file), to));
            add(found);
            return `require(${JSON.stringify(found)})`;
        });
        modules.set(file, text);
    };
    entry = require.resolve(entry);
    add(entry);
    const parts = [...modules].map(([file, text]) =>
        `${JSON.stringify(file)}: function (module, exports, require) {${text}\n}`);
    return `const ${name} = (() => {
        const parts = {${parts.join(",\n")}}, made = {};
        const require = (file) => {
            if (!made[file]) {
                made[file] = {exports: {}};
                parts[file](made[file], made[file].exports, require);
            }
            return made[file].exports;
        };
        return require(${JSON.stringify(entry)});
    })();`;
}

module.exports = bundle;
