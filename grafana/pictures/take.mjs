// Takes a picture of each dashboard: node take.mjs EXPORTER RULES FOLDER; Chromium by playwright-core, which NODE_PATH must lead to.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { played } from "./scene.mjs";

const [exporter, rules, folder] = process.argv.slice(2);
const page = join(dirname(fileURLToPath(import.meta.url)), "page.html");
const { chromium } = createRequire(import.meta.url)("playwright-core");

async function pictures(prometheus, minutes) {
  const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-quic"] });
  try {
    for (const dashboard of ["overview", "connections", "budget"]) {
      // Small files: less than all of the dots.
      const tab = await browser.newPage({ viewport: { width: 1600, height: 900 }, deviceScaleFactor: 0.68 });
      tab.on("pageerror", (problem) => console.error(problem));
      await tab.goto(`file://${page}?${new URLSearchParams({ dashboard, prometheus, minutes: String(minutes) })}`);
      await tab.waitForSelector("body[data-drawn]", { timeout: 60_000 });
      await tab.screenshot({ path: join(folder, `dashboard-${dashboard}.png`), fullPage: true });
      if ((await tab.getAttribute("body", "data-drawn")) !== "well") throw new Error(`${dashboard}: ${await tab.textContent("body")}`);
      await tab.close();
    }
  } finally {
    await browser.close();
  }
}

await played(exporter, rules, pictures);
