// The charts of the Dashboard: the last hour, drawn by uPlot, asked for anew every ten seconds.
(() => {
  "use strict";
  const place = document.querySelector("[data-series]");
  if (!place || !window.uPlot) return;
  const choice = document.querySelector("#server");
  const NAMES = { sessions: "Sessions", in: "From partners", out: "To partners" };
  const COLOURS = { sessions: "--accent", in: "--ok", out: "--warn" };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const size = (value) => {
    if (value === null || value === undefined) return "";
    for (const unit of ["B", "KiB", "MiB", "GiB"]) {
      if (value < 1024) return `${unit === "B" ? Math.round(value) : value.toFixed(1)} ${unit}`;
      value /= 1024;
    }
    return `${value.toFixed(1)} TiB`;
  };

  const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 5);
  let data = null;
  let charts = [];

  const draw = () => {
    for (const chart of charts) chart.destroy();
    charts = [...place.querySelectorAll(".chart")].map((box) => {
      const lines = box.dataset.lines.split(",");
      const bytes = lines.includes("in");
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line-soft"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
      return new uPlot(
        {
          width: box.clientWidth,
          height: 200,
          cursor: { drag: { x: false, y: false } },
          scales: { x: { time: false, range: () => [data.now - 3600, data.now] }, y: { range: (_, low, high) => [0, Math.max(bytes ? 1024 : 1, high || 0) * 1.1] } },
          axes: [
            { ...axis, values: (_, ticks) => ticks.map(clock) },
            { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => (bytes ? size(tick) : Number.isInteger(tick) ? tick : "")) },
          ],
          series: [
            { label: "Time", value: (_, value) => (value ? clock(value) : "") },
            ...lines.map((name) => ({ label: NAMES[name], stroke: colour(COLOURS[name]), width: 1.5, spanGaps: false, value: (_, value) => (bytes ? size(value) : (value ?? "")) })),
          ],
        },
        [data.at, ...lines.map((name) => data[name])],
        box,
      );
    });
  };

  const refresh = async () => {
    if (document.hidden) return;
    const answer = await fetch(`${place.dataset.series}?server=${encodeURIComponent(choice.value)}`, { headers: { "USP-Poll": "1" } });
    if (answer.redirected) location.reload();
    if (!answer.ok) return;
    data = { ...(await answer.json()), now: Date.now() / 1000 };
    if (charts.length === 0) draw();
    else for (const chart of charts) chart.setData([data.at, ...chart.root.parentElement.dataset.lines.split(",").map((name) => data[name])]);
  };

  choice.addEventListener("change", refresh);
  document.addEventListener("usp:theme", () => data && draw());
  document.addEventListener("visibilitychange", refresh);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => data && draw(), 150);
  });
  refresh().catch(() => {});
  setInterval(() => refresh().catch(() => {}), 10000);
})();
