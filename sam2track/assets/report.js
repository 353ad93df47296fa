// The report's page: all that comes from data goes in as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const isNumber = (value) => typeof value === "number";
  const shown = (value) =>
    value === null ? "" : isNumber(value) ? String(Number(value.toPrecision(5))) : String(value);

  // -- where we are: seconds from the first frame that is shown --------------------------
  const video = byId("video");
  const heads = [];
  const last = data.times.length - 1;
  const end = data.times[last] + (last ? data.times[last] - data.times[last - 1] : 1);
  let now = 0;
  const binAt = (time) => {
    let low = 0;
    for (let high = last; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (data.times[middle] <= time + 1e-6) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const place = (time) => {
    now = time;
    const part = `${Math.min(100, (100 * time) / end)}%`;
    for (const head of heads) head.style.left = part;
    byId("now").textContent = `frame ${data.frames[binAt(time)]}, ${data.clock[binAt(time)].toFixed(3)} s`;
  };
  const seek = (time) => {
    const within = Math.max(0, Math.min(time, data.times[last]));
    // A hair behind the frame's own time, so that rounding does not show the one before.
    if (video) video.currentTime = within + 1e-3;
    place(within);
  };

  // -- summary, methods, objects ------------------------------------------------------------
  const table = (into, header, rows) => {
    const head = make("tr");
    for (const name of header) head.append(make("th", name.replaceAll("_", " ")));
    into.append(head);
    for (const row of rows) {
      const line = make("tr");
      row.forEach((value, index) => {
        const cell = make("td", shown(value));
        if (isNumber(value)) cell.className = head.children[index].className = "number";
        line.append(cell);
      });
      into.append(line);
    }
  };
  for (const [name, value] of data.summary) {
    const row = make("tr");
    row.append(make("th", name), make("td", shown(value)));
    byId("summary").append(row);
  }
  for (const text of data.warnings) byId("warnings").append(make("p", text, "warning"));
  for (const id of ["methods", "listed", "charted"]) byId(id).textContent = data[id];
  table(byId("objects"), data.objectHeader, data.objectRows);

  // -- the player -----------------------------------------------------------------------------
  if (video) {
    const packed = byId("overlay").textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    const follow = () => {
      if (!video.seeking) place(video.currentTime);
      if (!video.paused) requestAnimationFrame(follow);
    };
    video.addEventListener("play", follow);
    video.addEventListener("seeked", follow);
  }

  // -- a timeline for each object ---------------------------------------------------------------
  const stops = [[178, 24, 43], [244, 165, 80], [250, 224, 144], [146, 197, 222], [33, 102, 172]];
  const tone = (value) => {
    const at = Math.max(0, Math.min(1, value)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const mixed = stops[low].map((c, i) => Math.round(c + (at - low) * (stops[low + 1][i] - c)));
    return `rgb(${mixed.join(",")})`;
  };
  for (const object of data.objects) {
    const row = make("div", undefined, "row");
    const label = make("div", undefined, "label");
    const dot = make("span", undefined, "dot");
    dot.style.background = object.colour;
    label.append(dot, document.createTextNode(object.label));
    label.title = object.label;
    const bar = make("div", undefined, "bar");
    const canvas = make("canvas");
    canvas.width = 2000;
    canvas.height = 1;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#eceef1";
    pen.fillRect(0, 0, 2000, 1);
    object.confidence.forEach((value, index) => {
      if (value === null) return;
      const from = (2000 * data.times[index]) / end;
      const to = index < last ? (2000 * data.times[index + 1]) / end : 2000;
      // Where it is not to be seen the bar is pale.
      pen.globalAlpha = object.area[index] ? 1 : 0.35;
      pen.fillStyle = tone(value);
      pen.fillRect(Math.floor(from), 0, Math.max(1, Math.ceil(to) - Math.floor(from)), 1);
    });
    const head = make("div", undefined, "head");
    heads.push(head);
    bar.append(canvas, head);
    bar.addEventListener("click", (event) => {
      const box = bar.getBoundingClientRect();
      seek(data.times[binAt((end * (event.clientX - box.left)) / box.width)]);
    });
    row.append(label, bar);
    byId("timeline").append(row);
  }
  byId("scale").style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(tone)})`;

  // -- charts ---------------------------------------------------------------------------------------
  const seconds = data.clock;
  const fit = (into) => ({ width: Math.max(200, into.clientWidth), height: 240 });
  const plots = [];
  for (const chart of data.charts) {
    const into = make("div", undefined, "chart");
    byId("charts").append(into);
    const plot = new uPlot(
      {
        title: chart.title,
        ...fit(into),
        scales: { x: { time: false }, y: chart.range ? { range: chart.range } : {} },
        axes: [{ label: "s" }, { size: 64 }],
        legend: { show: chart.series.length <= 12 },
        series: [
          { label: "s", value: (_, v) => (v === null ? "" : v.toFixed(3)) },
          ...chart.series.map((one) => ({
            label: one.label,
            stroke: one.colour,
            width: 1.5,
            spanGaps: false,
            points: { show: data.times.length < 3 },
          })),
        ],
      },
      [seconds, ...chart.series.map((one) => one.values)],
      into,
    );
    plot.over.addEventListener("click", () => {
      if (plot.cursor.idx !== null && plot.cursor.idx !== undefined) seek(data.times[plot.cursor.idx]);
    });
    plots.push([plot, into]);
  }
  // Once more now that all are there: a chart that was alone had the whole row.
  const fill = () => plots.forEach(([plot, into]) => plot.setSize(fit(into)));
  addEventListener("resize", fill);
  fill();

  // -- the worst frames ---------------------------------------------------------------------------------
  for (const look of data.looks) {
    const card = make("button", undefined, "look");
    const picture = make("img");
    picture.src = look.picture;
    picture.alt = "";
    card.append(
      picture,
      make("span", `frame ${look.frame}: ${look.label}`),
      make("span", `${look.confidence.toFixed(2)} ${look.reason}`, "soft"),
    );
    card.addEventListener("click", () => {
      seek(look.time);
      (video || byId("timeline")).scrollIntoView({ block: "center" });
    });
    byId("looks").append(card);
  }
  place(0);
})();
