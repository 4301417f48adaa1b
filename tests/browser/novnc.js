// noVNC in Chromium before a running machine: node novnc.js EMULATOR FOLDER
// FOLDER has the machine's sockets "vnc" and "control", and its "log" of port 0xe9 (tests/guest/echo.asm).
"use strict";
const {execFileSync} = require("child_process");
const fs = require("fs");
const http = require("http");
const net = require("net");
const {chromium} = require("playwright-core");
const bundle = require("./bundle.js");

const [emulator, folder] = process.argv.slice(2);
const typed = "Typed into Chromium: 0123456789 ~!@#$%^&*()_+{}|:\"<>?";
const ctl = (...words) => execFileSync(emulator, ["ctl", `${folder}/control`, ...words], {encoding: "utf8"});
const log = () => fs.readFileSync(`${folder}/log`, "latin1");

// Only a hang takes all the turns.
async function until(what, condition) {
    for (let turn = 0; turn < 6000; turn++) {
        if (await condition())
            return;
        await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`never: ${what}`);
}

function listen(server) {
    return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server.address().port)));
}

// The machine's own socket speaks WebSocket; a browser only lacks a way to a unix socket.
function bridge() {
    return net.createServer((browser) => {
        const machine = net.connect(`${folder}/vnc`);
        browser.pipe(machine).pipe(browser);
        browser.on("error", () => machine.destroy());
        machine.on("error", () => browser.destroy());
    });
}

function pages() {
    const script = bundle(require.resolve("@novnc/novnc/lib/rfb.js"), "RFB");
    const page = '<!doctype html><body style="margin:0"><div id="screen"></div><script src="rfb.js"></script>';
    return http.createServer((request, response) => {
        const js = request.url === "/rfb.js";
        response.setHeader("Content-Type", js ? "text/javascript" : "text/html");
        response.end(js ? script : page);
    });
}

// How many pixels of the canvas are not those of a PNG; -1 where the sizes differ.
async function differing(page) {
    ctl("screendump", `${folder}/screen.png`);
    const picture = fs.readFileSync(`${folder}/screen.png`).toString("base64");
    return page.evaluate(async (base64) => {
        const seen = document.querySelector("#screen canvas");
        const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
        if (bitmap.width !== seen.width || bitmap.height !== seen.height)
            return -1;
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext("2d");
        context.drawImage(bitmap, 0, 0);
        const a = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        const b = new Uint32Array(seen.getContext("2d").getImageData(0, 0, seen.width, seen.height).data.buffer);
        return a.reduce((count, value, i) => count + (value !== b[i] ? 1 : 0), 0);
    }, picture);
}

async function main() {
    await until("the guest is ready", () => log().includes("ready\n"));
    const way = bridge(), site = pages();
    const browser = await chromium.launch({executablePath: "/usr/bin/chromium", args: ["--no-sandbox"]});
    const page = await browser.newPage({viewport: {width: 1024, height: 768}});
    page.on("pageerror", (error) => console.log(`page: ${error}`));
    await page.goto(`http://127.0.0.1:${await listen(site)}/`);
    await page.evaluate((url) => new Promise((done, failed) => {
        window.rfb = new RFB.default(document.querySelector("#screen"), url);
        rfb.addEventListener("connect", done);
        rfb.addEventListener("disconnect", () => failed(new Error("noVNC does not connect")));
    }), `ws://127.0.0.1:${await listen(way)}/`);

    await until("the first picture is the guest's", async () => await differing(page) === 0);
    await page.evaluate(() => rfb.focus());
    await page.keyboard.type(typed);
    await until("what was typed is on the guest's screen", () => ctl("text").includes(typed));
    await until("the picture with the text", async () => await differing(page) === 0);

    // The pointer: 16 bits each way over the whole screen.
    const box = await page.locator("#screen canvas").boundingBox();
    const size = await page.evaluate(() => {
        const canvas = document.querySelector("#screen canvas");
        return [canvas.width, canvas.height];
    });
    for (const [x, y, button] of [[0, 0, 0], [100, 50, 0], [size[0] - 1, size[1] - 1, 0], [7, 300, 1]]) {
        await page.mouse.move(box.x + x, box.y + y);
        if (button)
            await page.mouse.down();
        const where = [x / (size[0] - 1), y / (size[1] - 1)]
            .map((part) => Math.floor(part * 0xffff + 1e-6).toString(16).padStart(4, "0")).join(",");
        const wanted = new RegExp(`@${where},00${button ? "20" : "00"}\n`);
        await until(`the pointer is at ${x},${y}: ${wanted}`, () => wanted.test(log()));
    }
    await browser.close();
    way.close();
    site.close();
    console.log("noVNC shows the screen, keys and pointer arrive");
    process.exit(0);
}

main().catch((error) => {
    console.log(`FAIL: ${error.message}\n${log().split("\n").slice(-8).join("\n")}`);
    process.exit(1);
});
