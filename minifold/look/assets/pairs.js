// Turns every figure of class mf-pairs of the page into a map of residue pairs that answers: the pair
// under the mouse is named; a rectangle that is dragged, or drawn with Shift and the arrow keys, is
// described and shown in the first structure of the same section and in the sequence there. Without
// scripts the still picture stays. Nothing is loaded from anywhere.
(function () {
  "use strict";
  if (window.minifoldPairs) { window.minifoldPairs(); return; }
  const { element, unpack, ramp, paint, Sheet } = window.minifoldTools;
  const COLUMNS = "#d55e00", ROWS = "#8a3fb5", BOTH = "#00796b", OTHERS = "#cfd5dc";  // of what is selected
  const DRAWN = { line: "#c9d1da", soft: "#4a5563" };

  class Pairs {
    constructor(figure, spec, bytes) {
      this.figure = figure; this.spec = spec; this.bytes = bytes; this.n = spec.names.length;
      this.map = spec.maps[0];
      this.at = null;  // [row, column] of the pair that is named
      this.anchor = null;  // the other corner of the selection
      this.chosen = null;  // { rows: [first, last], columns: [first, last] }
      this.section = figure.closest("section") || figure;
      this.view = this.section.querySelector(".mf-view");
      this.letters = [...this.section.querySelectorAll(".sequence [data-k]")];
      this.build();
      this.show();
      this.section.addEventListener("mf-residue", event => { this.elsewhere = event.detail; this.draw(); });
      if (this.view) this.view.addEventListener("mf-live", () => this.structure());
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    // --- The values ------------------------------------------------------------------------------

    byte(i, j) { return this.bytes[this.map.at + i * this.n + j]; }

    value(i, j) {
      const { low, high, levels } = this.map;
      return low + this.byte(i, j) / levels * (high - low);
    }

    text(value) { return value.toFixed(this.map.digits) + (this.map.unit ? "\u00a0" + this.map.unit : ""); }

    sentence(i, j) {
      const words = { "{i}": this.spec.names[i], "{j}": this.spec.names[j] };
      return this.map.says.replace(/{[ij]}/g, key => words[key]) + ": " + this.text(this.value(i, j));
    }

    span([first, last]) {
      const names = this.spec.names;
      return first === last ? names[first] : names[first] + " to " + names[last];
    }

    summary() {
      const { rows, columns } = this.chosen;
      let sum = 0, least = Infinity, most = -Infinity;
      for (let i = rows[0]; i <= rows[1]; i++) for (let j = columns[0]; j <= columns[1]; j++) {
        const value = this.value(i, j);
        sum += value; least = Math.min(least, value); most = Math.max(most, value);
      }
      const count = (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1);
      const spread = count > 1 ? "mean " + this.text(sum / count) + ", from " + least.toFixed(this.map.digits)
        + " to " + this.text(most) : this.text(sum);
      return [this.span(columns), this.span(rows), spread];
    }

    // --- The page --------------------------------------------------------------------------------

    build() {
      const live = element(this.figure, "div", { className: "mfp-live" });
      const bar = element(live, "div", { className: "mfp-bar" });
      if (this.spec.maps.length > 1) {
        const label = element(bar, "label", { textContent: "map " });
        const select = element(label, "select");
        this.spec.maps.forEach((map, k) => select.append(new Option(map.name, k)));
        select.addEventListener("change", () => { this.map = this.spec.maps[select.value]; this.show(); });
      } else element(bar, "strong", { textContent: this.map.name });
      const clear = this.clear = element(bar, "button", { type: "button", textContent: "clear selection" });
      clear.addEventListener("click", () => { this.select(null); this.canvas.focus(); });
      const help = this.figure.id + "-help";
      const field = element(live, "div", { className: "mfp-field" });
      this.across = element(field, "span");
      this.down = element(field, "span");
      this.canvas = element(field, "canvas", { className: "mfp-map", tabIndex: 0 }, {
        role: "application", "aria-roledescription": "map of residue pairs", "aria-describedby": help });
      this.sheet = new Sheet(this.canvas, this.n, this.n);
      const scale = element(live, "div", { className: "mfp-scale" });
      this.low = element(scale, "span");
      this.ramp = element(scale, "i");
      this.high = element(scale, "span");
      this.says = element(live, "output", { className: "mfp-says" }, { "aria-live": "polite" });
      this.about = element(live, "p", { className: "mfp-note" });
      this.note = element(live, "p", { className: "mfp-note", id: help });
      this.listen();
    }

    listen() {
      const canvas = this.canvas;
      canvas.addEventListener("pointerdown", event => {
        const at = this.sheet.cell(event);
        if (!at || event.button) return;
        this.dragging = true;
        canvas.setPointerCapture(event.pointerId);
        this.anchor = at;
        this.point(at);
      });
      canvas.addEventListener("pointermove", event => {
        const at = this.sheet.cell(event);
        if (!at) { if (!this.dragging) this.point(null); return; }
        this.point(at);
        if (this.dragging) this.select(this.anchor, at);
      });
      canvas.addEventListener("pointerup", event => {
        if (this.dragging) this.select(this.anchor, this.sheet.cell(event) || this.at);
        this.dragging = false;
      });
      canvas.addEventListener("pointercancel", () => { this.dragging = false; });
      canvas.addEventListener("pointerleave", () => { if (!this.dragging) this.point(null); });
      canvas.addEventListener("keydown", event => {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const last = this.n - 1;
        const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
                       Home: [0, -last], End: [0, last], PageUp: [-10, 0], PageDown: [10, 0] }[event.key];
        if (event.key === "Escape") this.select(null);
        else if (event.key === "Enter" || event.key === " ") {
          this.anchor = this.at || [0, 0];
          this.select(this.anchor, this.anchor);
        } else if (move) {
          const from = this.at || this.last || [0, 0];
          if (!event.shiftKey) this.anchor = null;
          else this.anchor = this.anchor || from;
          const at = from.map((x, k) => Math.min(last, Math.max(0, x + (this.at ? move[k] : 0))));
          this.point(at);
          if (event.shiftKey) this.select(this.anchor, at);
        } else return;
        event.preventDefault();
      });
      canvas.addEventListener("blur", () => this.point(null));
    }

    point(at) {
      if (String(at) === String(this.at)) return;
      if (at) this.last = at;
      this.at = at;
      this.say();
      this.draw();
      this.balls();
    }

    select(one, other) {
      const range = k => [Math.min(one[k], other[k]), Math.max(one[k], other[k])];
      this.chosen = one ? { rows: range(0), columns: range(1) } : null;
      if (!one) this.anchor = null;
      this.show();
    }

    // --- Drawing ---------------------------------------------------------------------------------

    show() {
      const map = this.map;
      this.colors = ramp(map.colors);
      this.ramp.style.background = "linear-gradient(to right," + map.colors.join() + ")";
      this.low.textContent = map.low;
      this.high.textContent = map.high + (map.unit ? " " + map.unit : "");
      [this.across.textContent, this.down.textContent] = map.axes;
      this.note.textContent = "Drag to select, or use the arrow keys, with Shift to select; Esc clears. Values are rounded to " + map.step + (map.unit ? " " + map.unit : "") + ".";
      this.canvas.setAttribute("aria-label", map.name);
      this.clear.disabled = !this.chosen;
      this.picture = paint(document.createElement("canvas"), this.n, this.n, this.colors,
                           i => Math.round(this.bytes[map.at + i] / map.levels * 255));
      const c = this.chosen;
      this.figure.dataset.selected = c ? c.columns.join("-") + "," + c.rows.join("-") : "";
      this.about.replaceChildren();
      if (c) {
        const [columns, rows, spread] = this.summary();
        const dot = color => element(this.about, "b", { className: "mfp-dot" }, { style: "background:" + color });
        this.about.append("Selected: ");
        dot(COLUMNS);
        this.about.append(columns + " (columns), ");
        dot(ROWS);
        this.about.append(rows + " (rows)");
        if (this.spec.names.some((_, k) => this.part(k) === BOTH)) {
          this.about.append(", ");
          dot(BOTH);
          this.about.append("in both");
        }
        this.about.append(": " + spread + ".");
      } else this.about.append("Nothing is selected.");
      this.say();
      this.draw();
      this.structure();
    }

    say() {
      this.says.textContent = this.at ? this.sentence(...this.at) : "Point at a pair of residues.";
    }

    draw() {
      const n = this.n, numbers = this.spec.numbers, { side, dx } = this.sheet.geometry();
      const pen = this.sheet.draw(this.picture, DRAWN, numbers, numbers);
      if (!pen) return;
      const line = (color, width, x, y, w, h) => {
        pen.lineWidth = width; pen.strokeStyle = color; pen.strokeRect(x, y, w, h);
      };
      if (this.elsewhere >= 0) {  // a residue under the mouse in the sequence or the structure
        line("#222222", 1, this.elsewhere * dx, 0, dx, side);
        line("#222222", 1, 0, this.elsewhere * dx, side, dx);
      }
      if (this.chosen) {
        const { rows, columns } = this.chosen;
        const x = columns[0] * dx, w = (columns[1] + 1) * dx - x, y = rows[0] * dx, h = (rows[1] + 1) * dx - y;
        line("#ffffff", 4, x, y, w, h);
        line("#222222", 2, x, y, w, h);
        pen.fillStyle = COLUMNS; pen.fillRect(x, -4, w, 4);
        pen.fillStyle = ROWS; pen.fillRect(-4, y, 4, h);
      }
      if (this.at) {
        const [i, j] = this.at;
        line("#ffffff", 3, j * dx - 1, i * dx - 1, dx + 2, dx + 2);
        line("#222222", 1.5, j * dx - 1, i * dx - 1, dx + 2, dx + 2);
        pen.fillStyle = COLUMNS; pen.fillRect(j * dx, side, dx, 5);
        pen.fillStyle = ROWS; pen.fillRect(side, i * dx, 5, dx);
      }
    }

    // --- The structure and the sequence ------------------------------------------------------------

    part(k) {  // the colour of a residue that is selected
      if (!this.chosen) return null;
      const [column, row] = [this.chosen.columns, this.chosen.rows].map(
        ([first, last]) => first <= k && k <= last);
      return column && row ? BOTH : column ? COLUMNS : row ? ROWS : null;
    }

    structure() {
      const shown = this.view && this.view.minifold;
      const colors = this.spec.names.map((_, k) => this.part(k));
      this.letters.forEach((letter, k) => {
        letter.style.backgroundColor = colors[k] || "";
        letter.style.color = colors[k] ? "#ffffff" : "";
      });
      if (shown) shown.paint(this.chosen ? colors.map(color => color || OTHERS) : null);
      this.balls();
    }

    balls() {
      const shown = this.view && this.view.minifold;
      if (shown) shown.balls(this.at ? [[this.at[0], ROWS], [this.at[1], COLUMNS]] : []);
    }
  }

  async function start(figure) {
    if (figure.dataset.state) return;
    figure.dataset.state = "starting";
    try {
      const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      const bytes = await unpack(spec.data);
      figure.pairs = new Pairs(figure, spec, bytes);
      figure.dataset.state = "live";
      figure.pairs.draw();
    } catch (problem) {  // the picture stays
      figure.querySelector(".mfp-live")?.remove();
      figure.dataset.state = "still";
      figure.dataset.problem = String(problem);
    }
  }

  window.minifoldPairs = function () {
    document.querySelectorAll(".mf-pairs:not([data-state])").forEach(start);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", window.minifoldPairs);
  else window.minifoldPairs();
})();
