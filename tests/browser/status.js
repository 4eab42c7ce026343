// The status page in a real browser: node status.js SCENARIO PAGE SIMULATOR. Exits 0 only if all holds.
"use strict";
const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const axe = require("axe-core");
const { chromium } = require("playwright-core");

const [, , scenario, address, simulator] = process.argv;
const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"].concat(
  ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-renderer-accessibility"],
);

// Opens the page as this context does; what it asks for, says and does wrong is kept.
const open = async (browser, { at = address, ...options } = {}) => {
  const context = await browser.newContext({ viewport: DESK, ...options });
  // On a busy machine a browser takes its time.
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const seen = { requests: [], complaints: [] };
  context.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => seen.complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  page.on("dialog", (dialog) => (seen.complaints.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  await page.clock.install();
  await page.goto(at);
  return { page, seen };
};

// At the end of each scenario: nothing was asked of anybody else, and the browser had nothing to complain about.
const calm = ({ seen }) => {
  const elsewhere = seen.requests.filter((url) => new URL(url).origin !== new URL(address).origin);
  assert.deepEqual(elsewhere, [], "asked somebody else");
  assert.deepEqual(seen.complaints, []);
};

// The targets that the filter leaves, from top to bottom; in a closed group they are a click away.
const targets = (page) => page.locator("#targets tbody tr:not([hidden]) th").allTextContents();

// Waits until the exporter itself says so.
const until = async (what) => {
  for (let tries = 0; tries < 2400; tries++) {
    if (what(await (await fetch(address)).text())) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`it did not come: ${what}`);
};

// Nobody must scroll sideways.
const inside = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

// Rows that are shown as cards, or not laid out yet, are still rows of a table to those who listen. Groups are opened first.
const heard = async (page) => {
  await page.locator("details").evaluateAll((all) => all.forEach((details) => (details.open = true)));
  const session = await page.context().newCDPSession(page);
  await session.send("Accessibility.enable");
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const count = (role) => nodes.filter((node) => node.role?.value === role && !node.ignored).length;
  const [all, heads] = [await page.locator("tr").count(), await page.locator("thead").count()];
  assert.deepEqual([count("row"), count("columnheader") > heads, count("rowheader")], [all, true, all - heads]);
};

// axe has no objection, as the page opens and with everything open.
const accessible = async (page) => {
  const { width } = page.viewportSize();
  assert.ok(await inside(page), `${width}: one must scroll sideways`);
  // Through the debugger's door, which the policy does not close.
  await page.evaluate(axe.source);
  const look = async () => {
    const result = await page.evaluate(() => axe.run({ resultTypes: ["violations"] }));
    assert.deepEqual(result.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
    assert.ok(result.passes.length > 20, "axe looked at the page");
  };
  await look();
  await heard(page);
  await look();
  assert.ok(await inside(page), `${width}: with everything open, one must scroll sideways`);
};

const row = (html, target) => html.split("<tr").find((part) => part.includes(`<bdi>${target}</bdi></a></th>`)) ?? "";
const healthy = (html) => (html.match(/data-s="up"/g) ?? []).length === 7;

const scenarios = {
  async filter(browser) {
    const opened = await open(browser);
    const { page } = opened;
    assert.deepEqual((await targets(page)).length, 7);
    await page.getByLabel("Filter").fill("ACME_s");
    assert.deepEqual(await targets(page), ["acme_shopify", "acme_slack"]);
    assert.match(await page.getByRole("status").textContent(), /^2 of 7 targets/);
    await page.getByLabel("State").selectOption("failing");
    assert.deepEqual(await targets(page), ["acme_shopify"]);
    await page.getByLabel("Filter").fill("");
    await page.getByLabel("State").selectOption("!up");
    assert.deepEqual(await targets(page), ["acme_shopify"]);
    assert.equal(await page.getByRole("status").textContent(), "1 of 7 targets");
    await page.reload();
    assert.deepEqual(await targets(page), ["acme_shopify"], "a reload keeps it");
    await page.getByLabel("State").selectOption("");
    assert.equal(page.url(), address);
    await page.getByLabel("Filter").fill("no such name");
    assert.deepEqual(await page.locator("table:visible, details.list:visible:not([data-g=timeline])").evaluateAll((all) => all.map(({ dataset }) => dataset.g ?? dataset.t)), [], "no frame without rows");
    await page.getByText("No target matches the filter.").getByRole("button").click();
    assert.equal((await targets(page)).length, 7);
    assert.equal(page.url(), address);
    await page.getByLabel("Filter").fill("calendar");
    assert.match(await page.getByRole("status").textContent(), /^0 of 7 targets, [1-9]\d* in other lists$/);
    await page.getByLabel("Filter").fill("");
    await page.getByRole("link", { name: /not connected/ }).click();
    assert.deepEqual((await targets(page)).length, 7, "a link to a part of the page filters nothing");
    await page.getByLabel("Filter").fill("production");
    assert.deepEqual(await targets(page), ["Brazil", "Germany", "Global", "Japan"], "the account belongs to each target");
    calm(opened);
  },

  async tiles(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const tile = (name) => page.getByRole("link", { name });
    await tile("1 failing").click();
    assert.deepEqual(await targets(page), ["acme_shopify"]);
    assert.equal(page.url(), `${address}?state=failing`);
    assert.equal(await page.getByLabel("State").inputValue(), "failing");
    assert.equal(await tile("1 failing").getAttribute("aria-current"), "true");
    assert.equal(await page.locator(".group:visible").count(), 1, "a group without a target is not shown");
    await page.reload();
    assert.deepEqual(await targets(page), ["acme_shopify"], "a reload keeps it");
    await tile("6 up").press("Enter");
    assert.deepEqual((await targets(page)).length, 6);
    await tile("7 targets").press("Enter");
    assert.deepEqual((await targets(page)).length, 7);
    assert.equal(page.url(), address);
    calm(opened);
  },

  async groups(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const groups = async () => page.locator(".group").evaluateAll((all) => all.map(({ dataset, open }) => `${dataset.g} ${open}`));
    assert.deepEqual(await groups(), ["zis/acme false", "zuora/production false"], "with many targets, those that are well are closed");
    const summary = page.locator('[data-g="zuora/production"] > summary');
    await summary.press("Enter");
    await fetch(`${simulator}/simulator/faults`, { method: "POST", body: "kind=503&endpoint=connections_all&target=acme_slack" });
    await until((html) => row(html, "acme_slack").includes("server_error"));
    await page.clock.runFor(15_000);
    await page.locator('#targets tr[data-s="failing"]').waitFor();
    assert.deepEqual(await groups(), ["zis/acme true", "zuora/production true"], "a failure opens its group, and the other stays open");
    assert.ok(await summary.evaluate((element) => element === document.activeElement), "the focus stays");
    const head = page.locator('[data-g="zis/acme"] thead');
    await page.locator('[data-g="zis/acme"] tbody tr').last().scrollIntoViewIfNeeded();
    const [bar, top] = [await page.locator("#controls").boundingBox(), await head.boundingBox()];
    assert.ok(Math.abs(top.y - bar.y - bar.height) < 3 && bar.y === 0, `the header is at ${top.y}, below the bar at ${bar.y}`);
    await page.getByRole("button", { name: "Collapse all" }).click();
    assert.deepEqual(await groups(), ["zis/acme false", "zuora/production false"]);
    await page.getByLabel("Filter").fill("slack");
    assert.deepEqual((await groups())[0], "zis/acme true", "what the filter finds is open");
    await page.getByLabel("Filter").fill("");
    assert.deepEqual((await groups())[0], "zis/acme false");
    await page.getByRole("button", { name: "Expand all" }).click();
    assert.deepEqual(await groups(), ["zis/acme true", "zuora/production true"]);
    calm(opened);
  },

  async target(browser) {
    const at = `${address}target?system=zis&account=acme&target=acme_slack`;
    for (const viewport of [DESK, PHONE]) {
      for (const colorScheme of ["light", "dark"]) {
        const opened = await open(browser, { viewport, colorScheme, at });
        await accessible(opened.page);
        calm(opened);
        await opened.page.context().close();
      }
    }
    const opened = await open(browser);
    const { page } = opened;
    await page.getByRole("rowheader", { name: "acme_slack" }).getByRole("link").click();
    assert.equal(page.url(), at);
    await page.getByLabel("Filter").fill("slack");
    assert.equal(await page.locator("#connections-rows tr:visible").count(), 1);
    await page.getByLabel("Filter").fill("no such name");
    await page.getByText("No connection matches the filter.").waitFor();
    await page.getByLabel("Filter").fill("");
    await fetch(`${simulator}/simulator/faults`, { method: "POST", body: "kind=503&endpoint=connections_all&target=acme_slack" });
    await until((html) => row(html, "acme_slack").includes("server_error"));
    await page.clock.runFor(15_000);
    await page.getByRole("heading", { name: "acme_slack failing" }).waitFor();
    assert.match(await page.locator("#polls").textContent(), /of the last \d+ polls failed/);
    await page.getByRole("navigation", { name: "Breadcrumb" }).getByRole("link").click();
    assert.equal(page.url(), address);
    calm(opened);
  },

  async links(browser) {
    // So low that there is something to scroll to at the end of the page, too.
    for (const viewport of [{ width: 1280, height: 320 }, { width: 700, height: 320 }]) {
      const opened = await open(browser, { viewport });
      const { page } = opened;
      await page.getByRole("link", { name: /not connected/ }).click();
      const box = (what) => page.locator(what).evaluate((element) => element.getBoundingClientRect().toJSON());
      const [bar, heading, head] = [await box("#controls"), await box("#issues-title"), await box("#issues thead")];
      const free = heading.top >= Math.max(bar.bottom, 0) || heading.bottom <= bar.top;
      assert.ok(free && heading.top >= 0, `${viewport.width}: the heading is at ${heading.top}, and the bar ends at ${bar.bottom}`);
      assert.ok(head.bottom <= viewport.height, `${viewport.width}: the table begins at ${head.bottom}`);
      calm(opened);
      await page.context().close();
    }
  },

  async sort(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const order = await targets(page);
    assert.equal(order[0], "acme_shopify", "the worst comes first");
    const head = page.locator("#targets").getByRole("columnheader", { name: "Target" }).first();
    const turn = async () => (await head.getByRole("button").press("Enter"), head.getAttribute("aria-sort"));
    // Rows are sorted within the group of their account.
    const [acme, production] = [["acme_billing", "acme_shopify", "acme_slack"], ["Brazil", "Germany", "Global", "Japan"]];
    assert.equal(await turn(), "ascending");
    assert.deepEqual(await targets(page), [...acme, ...production]);
    assert.equal(await turn(), "descending");
    const down = [...acme.toReversed(), ...production.toReversed()];
    assert.deepEqual(await targets(page), down);
    await page.reload();
    assert.deepEqual(await targets(page), down, "a reload keeps it");
    assert.equal(await turn(), null);
    assert.deepEqual(await targets(page), order, "as the exporter ordered them");

    // By number, not by digits; and a cell without a value is the last both ways.
    const counts = async () => {
      const cells = page.locator("#targets tbody tr td:nth-child(3)");
      return cells.evaluateAll((cells) => cells.map((cell) => cell.dataset.v ?? ""));
    };
    const button = page.locator("#targets").getByRole("button", { name: "Connections" }).first();
    await button.click();
    assert.deepEqual(await counts(), ["10", "10", "", "5", "6", "7", "7"]);
    await button.click();
    assert.deepEqual(await counts(), ["10", "10", "", "7", "7", "6", "5"]);
    calm(opened);
  },

  async refresh(browser) {
    const opened = await open(browser, { viewport: { width: 1280, height: 300 } });
    const { page, seen } = opened;
    assert.equal((await targets(page)).length, 7);
    const filter = page.getByLabel("Filter");
    await filter.fill("acme");
    await page.locator("#targets").getByRole("button", { name: "Target" }).first().click();
    await filter.focus();
    await page.evaluate(() => scrollTo(0, 200));
    const place = async () => Math.round((await page.locator("#issues").boundingBox()).y);
    const before = await place();
    assert.equal(await page.locator("#targets tbody tr").count(), 7);
    assert.match(await page.locator("#next").textContent(), /^next refresh in \d+ s$/);

    await fetch(`${simulator}/simulator/faults`, { method: "POST", body: "kind=503&endpoint=connections_all&target=acme_slack" });
    await until((html) => row(html, "acme_slack").includes("server_error"));
    await page.clock.runFor(15_000);
    const failing = page.locator('#targets tr[data-s="failing"]');
    await failing.waitFor();
    assert.match(await failing.textContent(), /acme_slack.*server_error.*To do: the vendor failed/s);
    assert.match(await page.locator("#summary").textContent(), /7 targets\s*0 stale\s*1 failing\s*6 up/);
    assert.match(await page.title(), /^6 of 7 up/);
    assert.equal(await filter.inputValue(), "acme");
    assert.deepEqual(await targets(page), ["acme_billing", "acme_shopify", "acme_slack"], "filter and order stay");
    assert.ok(await filter.evaluate((input) => input === document.activeElement), "the focus stays");
    // Above it, the target now has a card among what needs attention.
    assert.equal(await place(), before, "what one reads stays in place");

    // Paused, it asks for nothing; and once it goes on, it asks at once.
    const pause = page.getByRole("button", { name: "Pause refresh" });
    await pause.click();
    const asked = seen.requests.length;
    await fetch(`${simulator}/simulator/faults`, { method: "DELETE" });
    await until(healthy);
    await page.clock.runFor(60_000);
    assert.equal(seen.requests.length, asked);
    await pause.click();
    await failing.waitFor({ state: "detached" });
    calm(opened);

    // An exporter that is gone is told of, and what is shown stays.
    await page.route("**/*", (route) => route.abort());
    await page.clock.runFor(15_000);
    await page.getByText("This is not current: the exporter cannot be reached.").waitFor();
    assert.match(await page.title(), /^not current – /);
    assert.equal((await targets(page)).length, 3);
  },

  async markup(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const text = await page.locator("body").innerText();
    for (const name of ["<img src=x onerror=alert(1)>", "\"><a onfocus=alert(4)>", "<script>alert(2)</script>", "</td><svg onload=alert(3)>", "\\u{202e}gnp.exe"]) {
      assert.ok(text.includes(name), `${name} is not shown as it is`);
    }
    for (const viewport of [PHONE, DESK]) {
      await page.setViewportSize(viewport);
      assert.ok(await inside(page), `${viewport.width}: a long name makes one scroll sideways`);
      const wide = await page.locator("th:not(.vh), td").evaluateAll((cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.outerHTML));
      assert.deepEqual(wide, [], `${viewport.width}: a long name leaves its cell`);
    }
    // A refresh puts what it read into the page anew.
    assert.ok((await page.locator("svg").count()) > 0, "the page has images of its own");
    await page.locator("#targets tbody tr").first().evaluate((row) => row.classList.add("old"));
    await page.clock.runFor(15_000);
    await page.locator(".old").waitFor({ state: "detached" });
    const foreign = "img, svg:not(.polls):not(.timeline), iframe, object, embed, body style, section script, [onload], [onerror], [onfocus]";
    assert.equal(await page.locator(foreign).count(), 0);
    assert.equal(await page.locator("script").count(), 1);
    calm(opened);
    // Markup that came in all the same could not run.
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
    });
    assert.equal(await page.evaluate(() => window.ran), undefined);
    assert.match(opened.seen.complaints.join(), /Content Security Policy/);
  },

  async access(browser) {
    for (const viewport of [DESK, PHONE]) {
      for (const colorScheme of ["light", "dark"]) {
        const opened = await open(browser, { viewport, colorScheme });
        const { page } = opened;
        await accessible(page);
        calm(opened);
        await page.context().close();
      }
    }
    const opened = await open(browser);
    await opened.page.keyboard.press("Tab");
    await opened.page.keyboard.press("Enter");
    assert.equal(await opened.page.evaluate(() => document.activeElement.id), "targets", "the first link skips to the targets");
    calm(opened);
  },

  async many(browser) {
    for (const viewport of [DESK, PHONE]) {
      const opened = await open(browser, { viewport });
      const { page } = opened;
      assert.equal((await targets(page)).length, 300);
      await heard(page);
      await page.getByLabel("Filter").fill("_299");
      assert.deepEqual(await targets(page), ["acme_survey_299"]);
      assert.ok(await page.getByRole("rowheader", { name: "acme_survey_299" }).isVisible());
      calm(opened);
    }
  },

  async scriptless(browser) {
    const opened = await open(browser, { javaScriptEnabled: false });
    const { page } = opened;
    assert.equal((await page.locator("#targets tbody tr:visible").count()), 7);
    assert.equal(await page.locator("input:visible, select:visible, button:visible").count(), 0);
    calm(opened);
  },
};

(async () => {
  const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: 120_000 });
  try {
    await scenarios[scenario](browser);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
