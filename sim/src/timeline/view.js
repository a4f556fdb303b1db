// What of a run is in sight: a part of its time, and of its hosts.

/** The least time that fills the canvas, in microseconds. */
const SPAN_MIN = 2_000;
/** Pixels: of the names of hosts, of the axis, and of a lane at least and at most. */
const GUTTER = 110, AXIS = 26, LANE_MIN = 26, LANE_MAX = 72;
/** Pixels before and after the run when all of it is in sight. */
const MARGIN = 0.02;

class View {
  constructor(run) {
    this.run = run;
    this.hidden = new Set();
    this.kinds = new Set(Object.keys(KINDS).filter((kind) => KINDS[kind][2]));
    this.top = 0;
    this.resize(800, 400);
    this.fit();
    this.place();
  }

  /** The lanes from above: by region in the order of the nodes, nodes first, and last whoever is nowhere. */
  place() {
    const regions = [...new Set(this.run.hosts.filter((host) => host.region).map((host) => host.region)), null];
    const number = (host) => Number(/\d+$/.exec(host.name)?.[0] ?? 0);
    const order = (one, other) =>
      regions.indexOf(one.region ?? null) - regions.indexOf(other.region ?? null)
      || other.isNode - one.isNode || number(one) - number(other) || one.name.localeCompare(other.name);
    this.lanes = this.run.hosts.map((host, place) => ({ ...host, place })).sort(order).filter((host) => !this.hidden.has(host.place));
    this.laneOf = new Map(this.lanes.map((lane, at) => [lane.place, at]));
    this.resize(this.width, this.height);
  }

  resize(width, height) {
    [this.width, this.height] = [width, height];
    const lanes = Math.max(this.lanes?.length ?? 1, 1);
    this.lane = Math.min(LANE_MAX, Math.max(LANE_MIN, (height - AXIS) / lanes));
    this.scroll(0);
  }

  get micros() { return this.until - this.from; }
  get scale() { return (this.width - GUTTER) / this.micros; }
  x(time) { return GUTTER + (time - this.from) * this.scale; }
  time(x) { return this.from + (x - GUTTER) / this.scale; }
  /** The middle of a host's lane. */
  y(host) { return AXIS + (this.laneOf.get(host) + 0.5) * this.lane - this.top; }

  /** Whether a moment is to be seen, wherever it is. */
  shows(moment) {
    if (!this.kinds.has(moment.kind)) return false;
    if (moment.isMessage) return moment.hosts.every((host) => this.laneOf.has(host));
    return moment.hosts.length === 0 || moment.hosts.some((host) => this.laneOf.has(host));
  }

  isInSight(moment) { return moment.until >= this.from && moment.from <= this.until; }

  fit() { this.show(-this.run.end * MARGIN, this.run.end * (1 + MARGIN)); }

  /** Puts a part of time in sight, within bounds. */
  show(from, until) {
    const most = this.run.end * (1 + 2 * MARGIN);
    const span = Math.min(most, Math.max(SPAN_MIN, until - from));
    const middle = Math.min(this.run.end, Math.max(0, (from + until) / 2));
    this.from = Math.min(Math.max(middle - span / 2, -span / 2), this.run.end - span / 2);
    this.until = this.from + span;
  }

  /** Zooms so that the time at `x` stays there. */
  zoom(factor, x) {
    const fixed = this.time(x);
    const span = Math.min(this.run.end * (1 + 2 * MARGIN), Math.max(SPAN_MIN, this.micros * factor));
    const from = fixed - span * (x - GUTTER) / (this.width - GUTTER);
    this.show(from, from + span);
  }

  /** Moves by pixels. */
  pan(pixels) {
    const by = pixels / this.scale;
    this.show(this.from + by, this.until + by);
  }

  scroll(pixels) {
    const most = Math.max(0, AXIS + (this.lanes?.length ?? 0) * this.lane - this.height);
    this.top = Math.min(most, Math.max(0, this.top + pixels));
  }

  /** Brings a moment into sight; a short one is looked at from near. */
  reveal(moment) {
    const length = moment.until - moment.from;
    if (moment.from < this.from || moment.from > this.until) {
      const span = Math.min(this.micros, Math.max(length * 4, this.run.end / 20, SPAN_MIN));
      this.show(moment.from - span / 2, moment.from + span / 2);
    }
    const host = moment.hosts.find((one) => this.laneOf.has(one));
    if (host === undefined) return;
    const y = this.y(host);
    if (y < AXIS + this.lane / 2) this.scroll(y - AXIS - this.lane / 2);
    if (y > this.height - this.lane / 2) this.scroll(y - this.height + this.lane / 2);
  }

  /** The moment nearest to a point, at most 8 pixels off. What is drawn over others comes before them. */
  at(x, y, wanted) {
    let [nearest, least] = [null, 8];
    for (const moment of this.run.moments) {
      if (!this.isInSight(moment) || !this.shows(moment)) continue;
      const far = this.distance(moment, x, y) + (moment.isMessage ? 2 : 0) - (wanted?.has(moment) ? 2 : 0);
      if (far < least) [nearest, least] = [moment, far];
    }
    return nearest;
  }

  distance(moment, x, y) {
    const [left, right] = [this.x(moment.from), this.x(moment.until)];
    if (moment.isMessage) {
      const { x1, y1, x2, y2 } = this.way(moment);
      const [dx, dy] = [x2 - x1, y2 - y1];
      const along = Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
      return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
    }
    const aside = Math.max(left - x, x - right, 0);
    if (moment.kind === "broken" && !moment.hosts.length) return aside;
    const rows = moment.hosts.filter((host) => this.laneOf.has(host)).map((host) => Math.abs(y - this.y(host) - this.offset(moment)));
    return Math.hypot(aside, Math.max(0, Math.min(...rows) - 5));
  }

  /** From where to where a message is drawn: one that never arrived goes half the way. */
  way(moment) {
    const [from, to] = moment.hosts.map((host) => this.y(host));
    const hasArrived = moment.arrived !== null;
    const x1 = this.x(moment.from);
    return { x1, y1: from, x2: hasArrived ? this.x(moment.arrived) : x1 + 10, y2: hasArrived ? to : from + (to - from) / 2 };
  }

  /** How far from the middle of its lane something is drawn. */
  offset({ kind, sort, row }) {
    if (kind === "fault") return sort === "down" ? 0 : 6 + 5 * (FAULTS[sort]?.row ?? 0) - this.lane / 2;
    if (kind === "request") return this.lane * (0.1 + 0.11 * row);
    return { warning: this.lane / 3, info: this.lane / 3 }[kind] ?? 0;
  }
}
