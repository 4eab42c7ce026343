//! A whole dashboard, drawn from its JSON and a live Prometheus: `page.html?dashboard=overview&prometheus=http://…&minutes=5`.

import budget from "../dashboards/budget.json";
import connections from "../dashboards/connections.json";
import overview from "../dashboards/overview.json";
import { type Mark, element, stat, table, timeline, timeseries } from "./draw";
import { type Panel, type Range, ask, frames } from "./frames";

const CELL = 30;
const GAP = 8;

/** What the annotations mark: the begin of each stretch in which one is not 0, or the moment that it tells. */
async function marks(prometheus: string, dashboard: Panel, range: Range): Promise<Mark[]> {
  const drawn: Mark[] = [];
  for (const { expr, iconColor, useValueForTime } of dashboard.annotations.list)
    for (const { values } of await ask(prometheus, expr, range, false)) {
      let before = 0;
      for (const [time, text] of values!) {
        const value = Number(text);
        if (value && value !== before) drawn.push({ time: useValueForTime ? value / 1000 : time, color: iconColor });
        before = value;
      }
    }
  return drawn.filter(({ time }) => time > range.from && time < range.to);
}

async function draw() {
  const wanted = new URLSearchParams(location.search);
  const dashboard: Panel = { overview, connections, budget }[wanted.get("dashboard")!];
  const prometheus = wanted.get("prometheus")!;
  const to = Math.floor(Date.now() / 1000);
  const range = { from: to - 60 * Number(wanted.get("minutes")), to, step: 5 };
  const marked = await marks(prometheus, dashboard, range);
  const grid = element("main");
  const choices = dashboard.templating.list.map(({ label, current }: Panel) => element("span", { class: "choice" }, element("b", {}, label), String(current.text)));
  document.body.append(element("header", {}, element("h1", {}, dashboard.title), ...choices), grid);
  const width = grid.clientWidth / 24;
  for (const panel of dashboard.panels) {
    const { x, y, w, h } = panel.gridPos;
    const place = element("section", { class: panel.type });
    Object.assign(place.style, {
      left: `${x * width}px`,
      top: `${y * (CELL + GAP)}px`,
      width: `${w * width - GAP}px`,
      height: `${h * (CELL + GAP) - GAP}px`,
    });
    grid.append(place);
    grid.style.height = `${(y + h) * (CELL + GAP)}px`;
    place.append(element("h2", { title: panel.description ?? "" }, panel.title));
    if (panel.type === "row") continue;
    const body = element("div", { class: "body" });
    place.append(body);
    const data = await frames(prometheus, panel, range);
    const drawing = { stat, table, timeseries, "state-timeline": timeline }[panel.type as string];
    if (!drawing) throw new Error(`nothing draws a ${panel.type}`);
    drawing(body, panel, data, range, marked);
  }
}

draw().then(
  () => document.body.setAttribute("data-drawn", "well"),
  (problem) => {
    document.body.prepend(String(problem.stack));
    document.body.setAttribute("data-drawn", "badly");
  },
);
