// The page: what people do with it, and what it tells them.

const element = (id) => document.getElementById(id);

/** A new element with text in it; nothing of a run is ever taken for HTML. */
function made(name, text, more = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, more);
}

class Page {
  constructor(run) {
    this.run = run;
    this.canvas = element("canvas");
    this.view = new View(run);
    this.painter = new Painter(this.canvas);
    [this.found, this.chosen, this.turn] = [null, null, 0];
    this.pointers = new Map();
    this.caption();
    this.filters();
    this.legend();
    this.listen();
    new ResizeObserver(() => this.resized()).observe(this.canvas);
    this.resized();
  }

  caption() {
    const { build, replay, nodes, faults, posted, acknowledged, reads, lasted } = this.run.caption;
    const count = this.run.broken.length;
    element("verdict").textContent = count ? `${count} broken` : "sound";
    element("verdict").className = count ? "broken" : "sound";
    const counts = [`${nodes} nodes`, `${faults} faults`, `${posted} posted`, `${acknowledged} acknowledged`, `${reads} reads`];
    element("facts").textContent = `${build} · ${counts.join(", ")}, ${timeText(lasted)}`;
    element("replay").textContent = replay;
    element("copy").onclick = () => {
      getSelection().selectAllChildren(element("replay"));
      navigator.clipboard?.writeText(replay);
    };
    for (const broken of this.run.broken) {
      const button = made("button", `✖ ${broken.text}`, { type: "button", onclick: () => this.look(broken) });
      element("broken").append(made("li", ""));
      element("broken").lastChild.append(button);
    }
    const more = Object.entries(this.run.leftOut).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`);
    this.leftOut = more.length ? `Left out, the oldest first: ${more.join(", ")}. ` : "";
  }

  /** A box to tick for each of some things. */
  box(text, isOn, change) {
    const label = made("label", "");
    const input = made("input", "", { type: "checkbox", checked: isOn });
    input.onchange = () => { change(input.checked); this.paint(); };
    label.append(input, ` ${text}`);
    return label;
  }

  filters() {
    const { view } = this;
    const put = (set, one, isIn) => { if (isIn) set.add(one); else set.delete(one); };
    const counts = Object.groupBy ? Object.groupBy(this.run.moments, ({ kind }) => kind) : {};
    for (const [kind, [name, , isOn]] of Object.entries(KINDS)) {
      element("kinds").append(this.box(`${name} (${counts[kind]?.length ?? 0})`, isOn, (isIn) => put(view.kinds, kind, isIn)));
    }
    let group;
    let region;
    for (const lane of [...view.lanes]) {
      if (!group || lane.region !== region) {
        [group, region] = [made("fieldset", ""), lane.region];
        group.append(made("legend", region ?? "in no region"));
        element("hosts").append(group);
      }
      group.append(this.box(lane.name, true, (isIn) => { put(view.hidden, lane.place, !isIn); view.place(); }));
    }
  }

  legend() {
    const dots = globalThis.devicePixelRatio || 1;
    const sign = (text, draw) => {
      const canvas = made("canvas", "", { width: 34 * dots, height: 16 * dots, className: "sign" });
      const painter = new Painter(canvas);
      painter.pen.scale(dots, dots);
      canvas.style.width = "34px";
      painter.pen.textBaseline = "middle";
      draw(painter);
      element("signs").append(made("li", ""));
      element("signs").lastChild.append(canvas, text);
    };
    element("signs").replaceChildren();
    const way = [{ isMessage: true }];
    const line = { way: () => ({ x1: 2, y1: 3, x2: 28, y2: 12 }) };
    sign("a message that arrived", (p) => p.ways(line, way, p.colours.message, [], 1, "head"));
    sign("one that was lost", (p) => p.ways(line, way, p.colours.lost, [4, 3], 1.5, "cross"));
    sign("one that stood still", (p) => p.ways(line, way, p.colours.held, [1, 3], 1.5, "bars"));
    sign("one that had not arrived by the end", (p) => p.ways(line, way, p.colours.soft, [4, 3], 1, "circle"));
    const bar = { x: (x) => x };
    for (const [outcome, text] of [["good", "a post that stands"], ["bad", "one that was refused"], ["unsure", "one nobody knows of"]]) {
      sign(text, (p) => p.request(bar, { from: 2, until: 20, outcome }, 8));
    }
    sign("a warning, or an error", (p) => p.note("warning", 12, 8));
    sign("another log line", (p) => p.note("info", 12, 8));
    for (const sort of Object.keys(FAULTS)) {
      sign(FAULTS[sort].name, (p) => p.bar(sort, 2, 26, 8, 16));
    }
    sign("a broken promise or assertion", (p) => p.broken({ laneOf: new Map([[0, 0]]), y: () => 8, height: 16 }, { hosts: [0] }, 12));
  }

  resized() {
    const { clientWidth, clientHeight } = this.canvas;
    this.view.resize(Math.max(clientWidth, GUTTER + 100), Math.max(clientHeight, AXIS + LANE_MIN));
    this.paint();
  }

  /** Draws soon while time or hosts pass by: less of all, and in full once they stand. */
  move() {
    this.paint(MOVING_MAX);
    this.rest = setTimeout(() => this.paint(), 120);
  }

  /** Draws soon, once for all that changes until then. */
  paint(most = DRAWN_MAX) {
    clearTimeout(this.rest);
    this.painter.most = most;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      const step = this.painter.draw(this.view, this.found, this.chosen);
      const drawn = step > 1 ? `One message in ${step} is drawn; zoom in for more. ` : "";
      element("note").textContent = `${drawn}${this.leftOut}${timeText(Math.max(0, this.view.from))} to ${timeText(this.view.until)}`;
    });
  }

  /** Finds all that a text is about. */
  search(text) {
    const wanted = text.trim();
    const about = wanted ? this.run.about(wanted) : null;
    this.found = about && new Set(about);
    element("found").textContent = about ? `${about.length} of ${this.run.moments.length}` : "";
    this.paint();
  }

  /** Searches as if it had been typed. */
  seek(text) {
    element("search").value = text;
    this.search(text);
  }

  /** A broken promise, and all that concerns the first id it names. */
  look(broken) {
    if (broken.ids.length) this.seek(this.run.ids[broken.ids[0]]);
    this.choose(broken);
  }

  /** Shows a moment and tells of it. */
  choose(moment) {
    this.chosen = moment;
    if (moment) this.view.reveal(moment);
    this.tell(moment);
    this.paint();
  }

  /** The next moment of what was found, or of what is shown but for delivered messages; or the one before. */
  step(by) {
    const { run, view, chosen } = this;
    const isMeant = (moment) => view.shows(moment) && (this.found ? this.found.has(moment) : !(moment.isMessage && !moment.fate));
    const start = chosen ? chosen.at + by : run.moments.findIndex((moment) => moment.from >= view.from);
    for (let at = start; at >= 0 && at < run.moments.length; at += by) {
      if (isMeant(run.moments[at])) return this.choose(run.moments[at]);
    }
  }

  tell(moment) {
    const details = element("details");
    details.replaceChildren();
    if (!moment) return;
    const { from, until, told, ids } = moment;
    details.append(made("h2", this.run.heading(moment)));
    const length = until > from ? ` to ${timeText(until)}, ${((until - from) / 1e3).toFixed(1)} ms` : "";
    details.append(made("p", `${timeText(from)}${length}`, { className: "soft" }), made("p", moment.text));
    for (const { at, node, outcome } of told ?? []) {
      const name = node === null ? "" : ` by ${this.run.hosts[node].name}`;
      details.append(made("p", `${SIGNS[outcomeOf(outcome)]} ${timeText(at)}${name}: ${outcome}`));
    }
    if (told && !told.length) details.append(made("p", "? Nobody was told what came of it."));
    for (const id of ids) details.append(made("button", this.run.ids[id], { type: "button", onclick: () => this.seek(this.run.ids[id]) }));
  }

  listen() {
    const { canvas, view } = this;
    const middle = () => GUTTER + (view.width - GUTTER) / 2;
    const moves = {
      "+": () => view.zoom(0.7, middle()), "=": () => view.zoom(0.7, middle()), "-": () => view.zoom(1.4, middle()),
      ArrowLeft: () => view.pan(-80), ArrowRight: () => view.pan(80),
      ArrowUp: () => view.scroll(-view.lane), ArrowDown: () => view.scroll(view.lane),
      0: () => view.fit(), n: () => this.step(1), p: () => this.step(-1),
      b: () => { if (this.run.broken.length) this.look(this.run.broken[this.turn++ % this.run.broken.length]); },
      "/": () => element("search").focus(),
      Escape: () => { this.seek(""); this.choose(null); canvas.focus(); },
    };
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target instanceof HTMLInputElement && event.target.type === "search" && event.key !== "Escape";
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(moves, event.key)) return;
      event.preventDefault();
      moves[event.key]();
      this.paint();
    });
    for (const [id, key] of [["in", "+"], ["out", "-"], ["fit", "0"]]) element(id).onclick = () => { moves[key](); this.paint(); };
    const search = element("search");
    search.oninput = () => this.search(search.value);
    search.onkeydown = (event) => { if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1); };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const isAside = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (isAside) view.pan(event.deltaX || event.deltaY);
      else view.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / (event.ctrlKey ? 100 : 400)), event.offsetX);
      this.move();
    }, { passive: false });
    matchMedia("(prefers-color-scheme: dark)").onchange = () => { this.painter.learnColours(); this.legend(); this.paint(); };
    this.point();
  }

  /** With one pointer: look, choose, drag. With two: pinch. */
  point() {
    const { canvas, view, pointers } = this;
    const gap = () => {
      const [one, other] = pointers.values();
      return Math.hypot(one.x - other.x, one.y - other.y) || 1;
    };
    canvas.onpointerdown = ({ pointerId, offsetX: x, offsetY: y }) => {
      canvas.setPointerCapture(pointerId);
      canvas.focus();
      pointers.set(pointerId, { x, y, moved: 0 });
    };
    canvas.onpointermove = ({ pointerId, offsetX: x, offsetY: y }) => {
      const last = pointers.get(pointerId);
      if (!last) return this.hover(x, y);
      const before = pointers.size === 2 ? gap() : 0;
      pointers.set(pointerId, { x, y, moved: last.moved + Math.hypot(x - last.x, y - last.y) });
      if (before) view.zoom(before / gap(), [...pointers.values()].reduce((sum, one) => sum + one.x / 2, 0));
      else if (pointers.size === 1) { view.pan(last.x - x); view.scroll(last.y - y); }
      this.move();
    };
    canvas.onpointerup = canvas.onpointercancel = ({ type, pointerId, offsetX: x, offsetY: y }) => {
      const isClick = type === "pointerup" && pointers.get(pointerId)?.moved < 4;
      pointers.delete(pointerId);
      if (isClick) this.choose(view.at(x, y, this.found));
    };
    canvas.onpointerleave = () => this.tell(this.chosen);
  }

  /** Tells of what is under the pointer, once a frame. */
  hover(x, y) {
    this.hovering ??= requestAnimationFrame(() => {
      this.hovering = null;
      this.tell(this.view.at(x, y, this.found) ?? this.chosen);
    });
  }
}

const page = new Page(new Run(JSON.parse(element("data").textContent)));
