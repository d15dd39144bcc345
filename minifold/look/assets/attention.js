// Turns every figure of class mf-attention of the page into a viewer of attention maps: unpacks the
// weights (gzip, one byte each), draws the chosen map, and shows in the structure what the chosen
// residue looks at. Without scripts the still picture stays. Nothing is loaded from anywhere.
(function () {
  "use strict";
  if (window.minifoldAttention) { window.minifoldAttention(); return; }
  const { element, unpack, ramp, paint, Sheet } = window.minifoldTools;
  const MOST_ARCS = 24;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  class Viewer {
    constructor(figure, spec, bytes) {
      this.figure = figure; this.spec = spec; this.bytes = bytes;
      this.state = { map: spec.maps[0], block: 0, head: 0, q: 0, k: 0, least: 10 };
      this.state.block = spec.maps[0].blocks.length - 1;
      this.hovered = null;
      this.build();
      this.colors();
      this.fill();
      this.strongest();
      this.show();
      dark.addEventListener("change", () => { this.colors(); this.show(); });
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    // --- The weights ---------------------------------------------------------------------------

    sizes() { const s = this.state.map.shape; return { heads: s[1], nq: s[2], nk: s[3] }; }

    cells(head) {  // the map's bytes, row after row
      const { heads, nq, nk } = this.sizes(), size = nq * nk;
      const start = this.state.map.at + (this.state.block * heads + head) * size;
      return this.bytes.subarray(start, start + size);
    }

    largest() { return this.state.map.max[this.state.block][this.state.head]; }

    weight(q, k) {  // as text; what is stored as 0 is less than half a step
      const byte = this.cells(this.state.head)[q * this.sizes().nk + k], step = this.largest() / 255;
      return byte ? (byte * step).toPrecision(3) : "less than " + (step / 2).toPrecision(1);
    }

    threshold() { return Math.ceil(this.state.least / 100 * 255); }

    name(i) { return this.state.map.sequences ? "sequence " + (i + 1) : this.spec.names[i]; }

    strongest() {  // start at the heaviest weight off the diagonal
      const { nq, nk } = this.sizes(), cells = this.cells(this.state.head);
      let best = -1;
      for (let q = 0; q < nq; q++) for (let k = 0; k < nk; k++)
        if (Math.abs(q - k) > 2 && cells[q * nk + k] > best) {
          best = cells[q * nk + k]; this.state.q = q; this.state.k = k;
        }
    }

    // --- The page ------------------------------------------------------------------------------

    build() {
      const live = this.live = element(this.figure, "div", { className: "mfa-live" });
      const bar = element(live, "div", { className: "mfa-bar" });
      const select = (name, change) => {
        const label = element(bar, "label", { textContent: name });
        const made = element(label, "select");
        made.addEventListener("change", () => { change(made.value); this.fill(); this.show(); });
        return made;
      };
      const pick = wanted => {  // the map that agrees best with what is chosen now
        const now = this.state.map, maps = this.spec.maps;
        const fit = m => 4 * (m.recycle === now.recycle) + 2 * (m.slice === now.slice);
        let best = null;
        for (const m of maps) if (Object.keys(wanted).every(key => String(m[key]) === wanted[key]))
          if (!best || fit(m) > fit(best)) best = m;
        this.choose(best);
      };
      this.kind = select("attention", value => pick({ kind: value }));
      this.recycle = select("recycle", value => pick({ kind: this.state.map.kind, recycle: value }));
      this.block = select("block", value => { this.state.block = Number(value); });
      this.slice = select("slice", value => pick({
        kind: this.state.map.kind, recycle: String(this.state.map.recycle), slice: value }));
      const label = element(bar, "label");
      this.leastText = element(label, "span");
      this.least = element(label, "input", { type: "range", min: 0, max: 100, step: 1, value: 10 },
        { "aria-label": "show weights from this percentage of the largest" });
      this.least.addEventListener("input", () => { this.state.least = +this.least.value; this.show(); });

      this.heads = element(live, "fieldset", { className: "mfa-heads" });
      element(this.heads, "legend", { textContent: "head" });
      const panes = element(live, "div", { className: "mfa-panes" });
      const left = element(panes, "div", { className: "mfa-pane" });
      const right = element(panes, "div", { className: "mfa-pane" });
      const help = this.figure.id + "-help";
      this.canvas = element(left, "canvas", { className: "mfa-map", tabIndex: 0 }, {
        role: "application", "aria-roledescription": "attention map", "aria-describedby": help });
      this.sheet = new Sheet(this.canvas, ...this.state.map.shape.slice(2));
      const scale = element(left, "div", { className: "mfa-scale" });
      element(scale, "span", { textContent: "0" });
      this.bar = element(scale, "i");
      this.most = element(scale, "span");
      element(left, "p", { className: "mfa-note", id: help, textContent:
        "Row: who looks; column: what is looked at. Click, or use the arrow keys, Home and End. Blocks, "
        + "heads and recycles are counted from 0, as in Python; residues and sequences from 1." });
      this.says = element(right, "output", { className: "mfa-says" }, { "aria-live": "polite" });
      this.list = element(right, "p", { className: "mfa-most" });
      this.stage = element(right, "div", { className: "mfa-stage", hidden: true });
      this.key = element(right, "p", { className: "mfa-note", hidden: true });
      this.letters = element(right, "div", { className: "mfa-letters" }, { "aria-hidden": "true" });
      this.code = element(element(right, "p", { className: "mfa-note", textContent: "in Python: " }), "code");
      this.listen();
    }

    listen() {
      const canvas = this.canvas;
      canvas.addEventListener("pointermove", event => { this.hovered = this.sheet.cell(event); this.hover(); });
      canvas.addEventListener("pointerleave", () => { this.hovered = null; this.hover(); });
      canvas.addEventListener("click", event => {
        const at = this.sheet.cell(event);
        if (at) { [this.state.q, this.state.k] = at; this.show(); }
      });
      canvas.addEventListener("keydown", event => {
        const { nq, nk } = this.sizes(), s = this.state;
        const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
                       Home: [0, -nk], End: [0, nk] }[event.key];
        if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
        s.q = Math.min(nq - 1, Math.max(0, s.q + move[0]));
        s.k = Math.min(nk - 1, Math.max(0, s.k + move[1]));
        this.hovered = null;
        event.preventDefault();
        this.show();
      });
      this.letters.addEventListener("click", event => {
        if (event.target.dataset.i) { this.state.q = Number(event.target.dataset.i); this.show(); }
      });
    }

    choose(map) {
      const s = this.state, sameUnit = map.blocks.join() === s.map.blocks.join();
      s.map = map;
      if (!sameUnit) s.block = map.blocks.length - 1;
      s.head = Math.min(s.head, map.shape[1] - 1);
      s.q = Math.min(s.q, map.shape[2] - 1);
      s.k = Math.min(s.k, map.shape[3] - 1);
      this.sheet.resize(map.shape[2], map.shape[3]);
    }

    fill() {  // what can be chosen now
      const s = this.state, maps = this.spec.maps;
      const options = (select, pairs, chosen) => {
        select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
        select.value = chosen;
        select.disabled = pairs.length < 2;
      };
      const unique = list => [...new Set(list)];
      const kinds = unique(maps.map(m => m.kind));
      options(this.kind, kinds.map(k => [k, k]), s.map.kind);
      const same = maps.filter(m => m.kind === s.map.kind);
      const passes = unique(same.map(m => m.recycle)).sort((a, b) => a - b);
      options(this.recycle, passes.map(r => [r, r]), s.map.recycle);
      options(this.block, s.map.blocks.map((b, i) => [i, s.map.unit + " " + b]), s.block);
      const slices = same.filter(m => m.recycle === s.map.recycle).sort((a, b) => a.row - b.row);
      options(this.slice, slices.map(m => [m.slice, m.slice || "–"]), s.map.slice);
      const heads = this.sizes().heads;
      if (this.heads.querySelectorAll("label").length === heads) return;
      this.heads.querySelectorAll("label").forEach(label => label.remove());
      for (let h = 0; h < heads; h++) {
        const label = element(this.heads, "label");
        const radio = element(label, "input", { type: "radio", name: this.figure.id + "-head", value: h },
          { "aria-label": "head " + h });
        element(label, "canvas", {}, { "aria-hidden": "true" });
        element(label, "span", { textContent: h });
        radio.addEventListener("change", () => { this.state.head = h; this.show(); });
      }
    }

    // --- Drawing -------------------------------------------------------------------------------

    colors() {
      const style = getComputedStyle(this.figure), get = name => style.getPropertyValue("--mfa-" + name).trim();
      this.color = Object.fromEntries(
        ["paper", "ink", "soft", "line", "mark", "chain", "arc", "third"].map(name => [name, get(name)]));
      const stops = get("map").split(/\s+/);
      this.ramp = ramp(stops);
      this.bar.style.background = "linear-gradient(to right," + stops.join() + ")";
      if (this.scene) {
        this.scene.setBackgroundColor(this.color.paper);
        this.scene.setStyle({}, { cartoon: { color: this.color.chain, arrows: true, thickness: 0.4 } });
      }
    }

    paint(canvas, head, least) {
      const { nq, nk } = this.sizes(), cells = this.cells(head);
      return paint(canvas, nq, nk, this.ramp, i => cells[i] >= least ? cells[i] : 0);
    }

    draw() {
      const { nq, nk } = this.sizes(), sheet = this.sheet, { side, dx, dy } = sheet.geometry();
      const number = i => this.state.map.sequences ? i + 1 : this.spec.numbers[i];
      const numbers = n => Array.from({ length: n }, (_, i) => number(i));
      const picture = this.paint(document.createElement("canvas"), this.state.head, this.threshold());
      const pen = sheet.draw(picture, this.color, numbers(nq), numbers(nk));
      if (!pen) return;
      const { q, k } = this.state;
      pen.lineWidth = 1.5;
      pen.strokeStyle = this.color.mark;
      pen.strokeRect(0, q * dy, side, dy);
      pen.lineWidth = 2.5;
      pen.strokeRect(k * dx - 1, q * dy - 1, dx + 2, dy + 2);
      if (this.hovered) {
        pen.lineWidth = 1;
        pen.strokeStyle = this.color.ink;
        pen.strokeRect(this.hovered[1] * dx, this.hovered[0] * dy, dx, dy);
      }
    }

    hover() {
      const [q, k] = this.hovered || [this.state.q, this.state.k];
      const sentence = this.state.map.says.replace("{q}", this.name(q)).replaceAll("{k}", this.name(k));
      this.says.textContent = sentence.replaceAll("{q}", this.name(q)) + ": weight " + this.weight(q, k);
      this.draw();
    }

    show() {
      const s = this.state, map = s.map, { heads, nk } = this.sizes();
      this.hover();
      this.leastText.textContent = "show from " + s.least + " % of the largest";
      this.most.textContent = this.largest().toPrecision(3) + " (largest weight of this map)";
      this.canvas.setAttribute("aria-label", "attention weights, " + map.kind + ", " + map.unit + " "
        + map.blocks[s.block] + ", head " + s.head);
      this.heads.querySelectorAll("label").forEach((label, h) => {
        label.querySelector("input").checked = h === s.head;
        this.paint(label.querySelector("canvas"), h, 0);
      });
      const row = this.cells(s.head).subarray(s.q * nk, (s.q + 1) * nk);
      const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b).slice(0, 4);
      this.list.textContent = this.name(s.q) + " looks most at " + order.map(
        k => this.name(k) + " (" + this.weight(s.q, k) + ")").join(", ") + ".";
      this.code.textContent = map.code.replace("{b}", map.blocks[s.block]).replace("{h}", s.head)
        + "[" + s.q + ", " + s.k + "]";
      this.strip(row);
      this.arcs(row);
    }

    strip(row) {  // the sequence, each letter on the colour of its weight
      this.letters.hidden = this.state.map.sequences;
      if (this.letters.hidden) return;
      if (!this.letters.firstChild) [...this.spec.letters].forEach((letter, i) => element(
        this.letters, "span", { textContent: letter, title: this.spec.names[i] }, { "data-i": i }));
      this.letters.childNodes.forEach((span, i) => {
        const rgb = this.ramp[row[i] >= this.threshold() ? row[i] : 0];
        span.style.background = "rgb(" + rgb + ")";
        span.style.color = rgb[0] * .3 + rgb[1] * .59 + rgb[2] * .11 > 128 ? "#111" : "#fff";
        span.className = i === this.state.q ? "mfa-query" : i === this.state.map.fixed ? "mfa-third" : "";
      });
    }

    // --- The structure -------------------------------------------------------------------------

    async structure() {
      if (!this.spec.pdb || !window.minifold3Dmol) { this.figure.dataset.structure = "none"; return; }
      try {
        await window.minifold3Dmol();
        this.stage.hidden = this.key.hidden = false;
        const box = element(this.stage, "div", {}, { style: "position:absolute;inset:0" });
        const scene = window.$3Dmol.createViewer(
          box, { backgroundColor: this.color.paper, antialias: true, cartoonQuality: 8 });
        if (!scene) throw new Error("no WebGL");
        scene.addModel(this.spec.pdb, "pdb");
        const atoms = scene.selectedAtoms({ atom: "CA" });
        this.ca = this.spec.numbers.map(n => atoms.find(atom => atom.resi === n));
        this.middle = ["x", "y", "z"].map(c => atoms.reduce((sum, a) => sum + a[c], 0) / atoms.length);
        scene.setClickable({ atom: "CA" }, true, atom => {
          const i = this.spec.numbers.indexOf(atom.resi);
          if (i >= 0 && !this.state.map.sequences) { this.state.q = i; this.show(); }
        });
        this.scene = scene;
        this.colors();
        scene.zoomTo();
        scene.zoom(1.25);
        box.addEventListener("wheel", event => {  // the wheel scrolls the page
          if (!event.ctrlKey) event.stopImmediatePropagation();
        }, { capture: true, passive: true });
        this.stage.tabIndex = 0;
        this.stage.setAttribute("role", "application");
        this.stage.setAttribute("aria-label", "structure in 3D; the arrow keys turn it");
        this.stage.addEventListener("keydown", event => {
          const turn = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"],
                         ArrowUp: [-10, "x"], ArrowDown: [10, "x"] }[event.key];
          if (!turn) return;
          scene.rotate(turn[0], turn[1]);
          scene.render();
          event.preventDefault();
        });
        new ResizeObserver(() => { scene.resize(); }).observe(this.stage);
        this.show();
        this.figure.dataset.structure = "live";
      } catch (problem) {  // the rest works without
        this.stage.hidden = this.key.hidden = true;
        this.scene = null;
        this.figure.dataset.structure = "none";
        this.figure.dataset.problem = String(problem);
      }
    }

    arcs(row) {
      const scene = this.scene, { map, q } = this.state;
      if (!scene) return;
      scene.removeAllShapes();
      for (let i = 0; i + 1 < this.ca.length; i++) {  // where a cartoon would break: bonds too long
        const [a, b] = [this.ca[i], this.ca[i + 1]];
        if (a && b && b.resi - a.resi === 1 && Math.hypot(a.x - b.x, a.y - b.y, a.z - b.z) > 3.9)
          scene.addCylinder({ start: a, end: b, radius: .22, color: this.color.chain, fromCap: 2, toCap: 2 });
      }
      const ball = (i, radius, color) => this.ca[i] && scene.addSphere({ center: this.ca[i], radius: radius, color: color });
      if (map.fixed !== null) ball(map.fixed, 1.3, this.color.third);
      let count = 0;
      if (!map.sequences) {
        ball(q, 1.3, this.color.mark);
        const keys = [...row.keys()].filter(k => k !== q && row[k] >= Math.max(1, this.threshold()));
        for (const k of keys.sort((a, b) => row[b] - row[a]).slice(0, MOST_ARCS)) {
          if (!this.ca[k] || !this.ca[q]) continue;
          count += 1;
          const strength = row[k] / 255;
          ball(k, .35 + .65 * strength, this.color.arc);
          scene.addCurve({ points: this.bow(this.ca[q], this.ca[k]), smooth: 2,
                           radius: .06 + .34 * strength, color: this.color.arc });
        }
      }
      scene.render();
      this.figure.dataset.arcs = count;
      const dot = (color, text) => {
        element(this.key, "span", { className: "mfa-dot" }, { style: "background:" + color });
        this.key.append(text);
      };
      this.key.replaceChildren();
      if (!map.sequences) { dot(this.color.mark, "looks"); dot(this.color.arc, "is looked at (thicker: more)"); }
      if (map.fixed !== null) dot(this.color.third, map.sequences ? "the column" : "third corner");
      if (map.sequences && map.fixed === null) this.key.append("Column attention compares sequences, not residues.");
    }

    bow(a, b) {  // points of an arc that bends away from the middle of the protein
      const [x, y] = [a, b].map(p => [p.x, p.y, p.z]), mid = x.map((v, i) => (v + y[i]) / 2);
      const out = mid.map((v, i) => v - this.middle[i]), length = Math.hypot(...out) || 1;
      const height = .35 * Math.hypot(...x.map((v, i) => v - y[i])) + 1;
      return Array.from({ length: 13 }, (_, step) => {
        const t = step / 12, lift = 4 * t * (1 - t) * height / length;
        const p = x.map((v, i) => v + t * (y[i] - v) + lift * out[i]);
        return { x: p[0], y: p[1], z: p[2] };
      });
    }
  }

  async function start(figure) {
    if (figure.dataset.state) return;
    figure.dataset.state = "starting";
    try {
      const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      const bytes = await unpack(spec.data);
      figure.dataset.state = "live";
      const viewer = new Viewer(figure, spec, bytes);
      await viewer.structure();
    } catch (problem) {  // the picture stays
      figure.querySelector(".mfa-live")?.remove();
      figure.dataset.state = "still";
      figure.dataset.problem = String(problem);
    }
  }

  window.minifoldAttention = function () {
    document.querySelectorAll(".mf-attention:not([data-state])").forEach(start);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", window.minifoldAttention);
  else window.minifoldAttention();
})();
