// Something of everything to look at: a simulator, a daemon that polls it, and a Prometheus with the project's rules, their durations cut short.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";

const MINUTES = 6;

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Waits until an address answers so. */
async function until(url, what) {
  for (let tries = 0; tries < 300; tries += 1) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok && what(await answer.text())) return;
    await after(100);
  }
  throw new Error(`${url} does not answer`);
}

/** Plays for some minutes, calls `look` with Prometheus' address and those minutes, and ends what it began. */
export async function played(exporter, rules, look) {
  const folder = mkdtempSync(join(tmpdir(), "dashboards-"));
  const began = [];
  const begin = (program, args, options = {}) => {
    const child = spawn(program, args, { cwd: folder, stdio: ["ignore", "pipe", "ignore"], ...options });
    began.push(child);
    return child;
  };
  try {
    const simulator = begin(exporter, ["simulate", "--simulator.listen-address=127.0.0.1:0", "--simulator.requests-per-minute=90"]);
    let said = "";
    for await (const piece of simulator.stdout) if ((said += piece).trimEnd().endsWith("ZIS_TOKEN_2")) break;
    const control = /http:\S+\/simulator/.exec(said)[0];
    // Tokens that nothing renews; a late renewal would take hours.
    const day = 24 * 3600_000;
    for (const [connection, days, refresh_token] of [["crm", -3, false], ["ledger", 1.25, false], ["archive", -22, true], ["forms", 20, false]]) {
      const token_expiry = new Date(Date.now() + days * day).toISOString();
      await fetch(`${control}/connections?${new URLSearchParams({ target: "acme_billing", connection, type: "oauth", token_expiry, refresh_token })}`, { method: "PUT" });
    }
    const secrets = Object.fromEntries([...said.matchAll(/export (\w+)=(\w+)/g)].map(([, name, value]) => [name, value]));
    writeFileSync(join(folder, "config.yaml"), said.replaceAll("per_minute: 60000", "per_minute: 120"));
    const port = await freePort();
    const daemon = begin(exporter, ["--config.file=config.yaml", `--web.listen-address=127.0.0.1:${port}`, "--state.dir=state"], { env: { ...process.env, ...secrets } });
    await until(`http://127.0.0.1:${port}/-/ready`, () => true);

    writeFileSync(join(folder, "alerts.yaml"), readFileSync(rules, "utf8").replaceAll(/\b(for|interval): \d+\w+/g, "$1: 5s"));
    const jobs = `scrape_configs: [{job_name: connections-exporter, static_configs: [{targets: ['127.0.0.1:${port}']}]}]`;
    writeFileSync(join(folder, "prometheus.yaml"), `global: {scrape_interval: 5s, evaluation_interval: 5s}\nrule_files: [alerts.yaml]\n${jobs}\n`);
    const prometheus = `http://127.0.0.1:${await freePort()}`;
    begin("prometheus", ["--config.file=prometheus.yaml", "--storage.tsdb.path=series", `--web.listen-address=${prometheus.slice(7)}`]);
    await until(`${prometheus}/-/ready`, () => true);

    const fault = (body) => fetch(`${control}/faults`, { method: "POST", body });
    const minute = 60_000;
    await after(1.5 * minute);
    await fault("kind=refuse&endpoint=connections_all&target=acme_shopify");
    const { holds } = await (await fetch(control)).json();
    const connected = holds.entity_connections.filter(({ status }) => status === "Connected");
    const joined = ({ source, target }) => connected.filter((other) => [source, target].includes(other.source) && [source, target].includes(other.target));
    // If another one joins the same entities, nothing is lost.
    const lost = connected.find((edge) => joined(edge).length === 1).id;
    await fetch(`${control}/connections?connection=${lost}&status=Disconnected`, { method: "PUT" });
    await after(0.5 * minute);
    await fetch(`${control}/connections?target=acme_billing&connection=search`, { method: "DELETE" });
    await after(0.5 * minute);
    await fault("kind=429&endpoint=entity_connections&retry_after=25&times=1");
    await after(1.5 * minute);
    daemon.kill("SIGHUP");
    await after((MINUTES - 4) * minute);
    await look(prometheus, MINUTES);
  } finally {
    for (const child of began.reverse()) {
      child.kill();
      await new Promise((ended) => (child.exitCode === null && child.signalCode === null ? child.once("exit", ended) : ended()));
    }
    rmSync(folder, { recursive: true });
  }
}
