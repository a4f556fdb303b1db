// How moments look. No two differ by colour alone: each kind has a place in the lane, a shape, or a dash of its own.

/** Messages of one fate that are drawn at a time, at rest and while it moves; of more, each so many-th is. */
const DRAWN_MAX = 3_000, MOVING_MAX = 500;
/** So many messages in sight, and they have heads and dashes. */
const FEW = 600;

/** Faults that last: the row of a lane they are in, from its upper edge, a letter, and what they are called. */
const FAULTS = {
  down: { row: 0, letter: "", name: "the host is down" },
  cut: { row: 0, letter: "C", name: "cut off from another" },
  hold: { row: 0, letter: "H", name: "what it sends another stands still" },
  link: { row: 0, letter: "L", name: "a bad link" },
  stall: { row: 1, letter: "S", name: "the host stands still" },
  clock: { row: 1, letter: "T", name: "a wrong clock" },
  version: { row: 1, letter: "V", name: "an older version" },
  disk: { row: 2, letter: "D", name: "a slow disk" },
  full: { row: 2, letter: "F", name: "a full disk" },
  low: { row: 2, letter: "l", name: "a disk that is low" },
  sync: { row: 2, letter: "Y", name: "a sync that fails" },
  left: { row: 0, letter: "X", name: "the node has left" },
  point: { row: 0, letter: "•", name: "any other fault" },
};

const SIGNS = { good: "✓", bad: "✕", unsure: "?" };

class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.most = DRAWN_MAX;
    this.learnColours();
  }

  learnColours() {
    const style = getComputedStyle(document.documentElement);
    const names = "ground raised text soft line message lost held good bad unsure fault log found broken";
    this.colours = Object.fromEntries(names.split(" ").map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  /** Draws all that is in sight; what was found over the rest, which is paler then. Returns of how many messages one is drawn. */
  draw(view, found, chosen) {
    const { pen, colours } = this;
    const dots = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(view.width * dots), Math.round(view.height * dots)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.fillStyle = colours.ground;
    pen.fillRect(0, 0, view.width, view.height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.ground(view);
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, AXIS, view.width - GUTTER, view.height - AXIS);
    pen.clip();
    const seen = view.run.moments.filter((moment) => view.isInSight(moment) && view.shows(moment));
    const others = found ? seen.filter((moment) => !found.has(moment)) : seen;
    pen.globalAlpha = found ? 0.22 : 1;
    this.faults(view, others, (moment) => moment.sort === "down");
    let step = this.messages(view, others);
    this.rest(view, others);
    pen.globalAlpha = 1;
    if (found) {
      const wanted = seen.filter((moment) => found.has(moment));
      this.faults(view, wanted, (moment) => moment.sort === "down");
      step = Math.max(step, this.messages(view, wanted, colours.found));
      this.rest(view, wanted);
    }
    if (chosen && view.shows(chosen)) this.ring(view, chosen);
    pen.restore();
    this.names(view);
    return step;
  }

  /** Lanes, regions and the axis of time. */
  ground(view) {
    const { pen, colours } = this;
    const steps = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 3e7, 6e7, 3e8, 6e8];
    const step = steps.find((one) => one * view.scale >= 80) ?? 36e8;
    pen.textAlign = "center";
    pen.lineWidth = 1;
    for (let time = Math.max(0, Math.ceil(view.from / step) * step); time <= Math.min(view.until, view.run.end); time += step) {
      const x = Math.round(view.x(time)) + 0.5;
      if (x < GUTTER) continue;
      pen.strokeStyle = colours.line;
      this.line(x, AXIS - 4, x, view.height);
      pen.fillStyle = colours.soft;
      pen.fillText(step < 1e6 ? timeText(time) : `${time / 1e6} s`, x, AXIS / 2);
    }
    for (const { place } of view.lanes) {
      pen.strokeStyle = colours.soft;
      this.line(view.x(0), view.y(place), view.x(view.run.end), view.y(place));
    }
    const lasting = view.x(view.run.caption.lasting);
    pen.fillStyle = colours.raised;
    pen.globalAlpha = 0.6;
    pen.fillRect(Math.max(GUTTER, lasting), AXIS, Math.max(0, view.x(view.run.end) - Math.max(GUTTER, lasting)), view.height);
    pen.globalAlpha = 1;
  }

  names(view) {
    const { pen, colours } = this;
    pen.fillStyle = colours.ground;
    pen.fillRect(0, AXIS, GUTTER - 1, view.height);
    pen.strokeStyle = colours.line;
    view.lanes.forEach(({ place, name, region, isNode }, at) => {
      const [y, isFirst] = [view.y(place), at === 0 || view.lanes[at - 1].region !== region];
      if (y < AXIS) return;
      if (isFirst) this.line(0, y - view.lane / 2, view.width, y - view.lane / 2);
      pen.textAlign = "right";
      pen.fillStyle = isNode ? colours.text : colours.soft;
      pen.font = `${isNode ? "600 " : ""}12px system-ui, sans-serif`;
      pen.fillText(name, GUTTER - 8, y, GUTTER - 44);
      pen.textAlign = "left";
      pen.font = "600 12px system-ui, sans-serif";
      pen.fillStyle = colours.text;
      if (isFirst) pen.fillText(region ?? "", 8, y, 32);
    });
  }

  /** Messages, each fate with its look. Returns of how many one is drawn. */
  messages(view, moments, colour) {
    const { pen, colours } = this;
    const messages = moments.filter((moment) => moment.isMessage);
    const isFew = messages.length <= FEW;
    let most = 1;
    const draw = (fate, own, dash, mark) => {
      const all = messages.filter((moment) => moment.fate === fate);
      const step = Math.ceil(all.length / this.most) || 1;
      most = Math.max(most, step);
      const drawn = step > 1 ? all.filter((moment) => moment.rank % step === 0) : all;
      this.ways(view, drawn, colour ?? own, isFew ? dash : [], (colour ? 1 : 0) + (fate === 1 || fate === 2 ? 1.5 : 1), mark);
    };
    const before = pen.globalAlpha;
    pen.globalAlpha = colour ? 1 : before * Math.max(0.3, Math.min(0.9, 300 / (messages.length || 1)));
    draw(0, colours.message, [], isFew ? "head" : "");
    pen.globalAlpha = before;
    draw(3, colours.soft, [4, 3], "circle");
    draw(2, colours.held, [1, 3], "bars");
    draw(1, colours.lost, [4, 3], "cross");
    return most;
  }

  /** Messages of one look: their ways as one path, and what marks their ends as another. */
  ways(view, moments, colour, dash, width, mark) {
    const { pen } = this;
    const ways = moments.map((moment) => view.way(moment));
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    for (const { x1, y1, x2, y2 } of ways) {
      pen.moveTo(x1, y1);
      pen.lineTo(x2, y2);
    }
    pen.stroke();
    pen.setLineDash([]);
    if (!mark) return;
    pen.beginPath();
    ways.forEach((way) => this.mark(way, mark));
    if (mark === "head") pen.fill();
    else pen.stroke();
  }

  mark({ x1, y1, x2, y2 }, mark) {
    const { pen } = this;
    const stroke = (fromX, fromY, toX, toY) => { pen.moveTo(fromX, fromY); pen.lineTo(toX, toY); };
    if (mark === "head") {
      const angle = Math.atan2(y2 - y1, x2 - x1);
      stroke(x2, y2, x2 - 7 * Math.cos(angle - 0.35), y2 - 7 * Math.sin(angle - 0.35));
      pen.lineTo(x2 - 7 * Math.cos(angle + 0.35), y2 - 7 * Math.sin(angle + 0.35));
    } else if (mark === "cross") {
      stroke(x2 - 4, y2 - 4, x2 + 4, y2 + 4);
      stroke(x2 - 4, y2 + 4, x2 + 4, y2 - 4);
    } else if (mark === "circle") {
      pen.moveTo(x2 + 3, y2);
      pen.arc(x2, y2, 3, 0, 7);
    } else {
      stroke(x1 + 3, y1 - 4, x1 + 3, y1 + 4);
      stroke(x1 + 6, y1 - 4, x1 + 6, y1 + 4);
    }
  }

  faults(view, moments, isMeant) {
    for (const moment of moments.filter((one) => one.kind === "fault" && isMeant(one))) {
      const lanes = moment.hosts.filter((host) => view.laneOf.has(host));
      for (const host of lanes) this.fault(view, moment, view.y(host) + view.offset(moment));
      if (!moment.hosts.length) this.fault(view, moment, AXIS + 6);
    }
  }

  fault(view, { from, until, sort }, y) {
    const left = Math.max(view.x(from), GUTTER - 5);
    this.bar(sort, left, Math.max(3, Math.min(view.x(until), view.width + 5) - left), y, view.lane);
  }

  bar(sort, left, width, y, lane) {
    const { pen, colours } = this;
    pen.fillStyle = pen.strokeStyle = colours.fault;
    if (sort === "down") {
      const [top, high] = [y - lane / 2 + 2, lane - 4];
      pen.save();
      pen.beginPath();
      pen.rect(left, top, width, high);
      pen.clip();
      pen.fillStyle = colours.raised;
      pen.fillRect(left, top, width, high);
      pen.lineWidth = 1;
      pen.beginPath();
      for (let x = left - high - left % 8; x < left + width; x += 8) {
        pen.moveTo(x, top + high);
        pen.lineTo(x + high, top);
      }
      pen.stroke();
      pen.restore();
      return pen.strokeRect(left, top, width, high);
    }
    pen.fillRect(left, y - 2, width, 4);
    const { letter } = FAULTS[sort] ?? FAULTS.point;
    pen.font = "700 10px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.lineWidth = 3;
    pen.strokeStyle = colours.ground;
    pen.strokeText(letter, left + 2, y + 0.5);
    pen.fillText(letter, left + 2, y + 0.5);
  }

  /** All that is no message, and no host that is down. */
  rest(view, moments) {
    const { pen, colours } = this;
    this.faults(view, moments, (moment) => moment.sort !== "down");
    for (const moment of moments) {
      const host = moment.hosts.find((one) => view.laneOf.has(one));
      const x = view.x(moment.from);
      const y = host === undefined ? AXIS + 10 : view.y(host) + view.offset(moment);
      if (moment.kind === "request") this.request(view, moment, y);
      else if (moment.kind === "warning" || moment.kind === "info") this.note(moment.kind, x, y);
      else if (moment.kind === "word") {
        pen.fillStyle = colours.text;
        pen.fillRect(x - 2, y - 2, 4, 4);
      } else if (moment.kind === "broken") this.broken(view, moment, x);
    }
  }

  request(view, { from, until, outcome }, y) {
    const { pen, colours } = this;
    const [left, right] = [view.x(from), view.x(until)];
    pen.strokeStyle = pen.fillStyle = colours[outcome];
    pen.lineWidth = 3;
    this.line(left, y, Math.max(right, left + 1), y);
    pen.font = "700 11px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.fillText(SIGNS[outcome], Math.max(right, left + 1) + 1, y);
  }

  note(kind, x, y) {
    const { pen, colours } = this;
    pen.fillStyle = kind === "warning" ? colours.held : colours.log;
    pen.beginPath();
    if (kind === "warning") {
      pen.moveTo(x, y - 5);
      pen.lineTo(x + 4.5, y + 4);
      pen.lineTo(x - 4.5, y + 4);
    } else pen.arc(x, y, 2, 0, 7);
    pen.fill();
  }

  broken(view, { hosts }, x) {
    const { pen, colours } = this;
    pen.strokeStyle = pen.fillStyle = colours.broken;
    pen.lineWidth = 2;
    pen.setLineDash([6, 4]);
    this.line(x, AXIS, x, view.height);
    pen.setLineDash([]);
    pen.textAlign = "center";
    pen.font = "700 18px system-ui, sans-serif";
    for (const host of hosts.filter((one) => view.laneOf.has(one))) pen.fillText("✖", x, view.y(host));
  }

  ring(view, moment) {
    const { pen, colours } = this;
    pen.strokeStyle = colours.found;
    if (moment.isMessage) return this.ways(view, [moment], colours.found, [], 3, "head");
    pen.lineWidth = 2;
    const [left, right] = [Math.max(view.x(moment.from), GUTTER), view.x(moment.until)];
    for (const host of moment.hosts.filter((one) => view.laneOf.has(one))) {
      pen.strokeRect(left - 5, view.y(host) + view.offset(moment) - 7, right - left + 10, 14);
    }
  }

  line(x1, y1, x2, y2) {
    this.pen.beginPath();
    this.pen.moveTo(x1, y1);
    this.pen.lineTo(x2, y2);
    this.pen.stroke();
  }
}
