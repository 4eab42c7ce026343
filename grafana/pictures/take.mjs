// Takes a picture of each dashboard: node take.mjs PAGE PROMETHEUS MINUTES FOLDER; Chromium by playwright-core, which NODE_PATH must lead to.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [page, prometheus, minutes, folder] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-quic"] });
try {
  for (const dashboard of ["overview", "connections", "budget"]) {
    const tab = await browser.newPage({ viewport: { width: 1600, height: 900 } });
    tab.on("pageerror", (problem) => console.error(problem));
    await tab.goto(`file://${resolve(page)}?${new URLSearchParams({ dashboard, prometheus, minutes })}`);
    await tab.waitForSelector("body[data-drawn]", { timeout: 60_000 });
    await tab.screenshot({ path: join(folder, `dashboard-${dashboard}.png`), fullPage: true });
    if ((await tab.getAttribute("body", "data-drawn")) !== "well") throw new Error(`${dashboard}: ${await tab.textContent("body")}`);
    await tab.close();
  }
} finally {
  await browser.close();
}
